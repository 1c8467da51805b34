"""Stream entries: requests and events survive the way through Redis. Covers request.py and event.py."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_common.rooms.event import Event
from imc_common.rooms.request import EntryError, RequestData, RoomRequest, call_id_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
DATA = st.builds(
    RequestData,
    content_type=TEXT,
    body=st.binary(max_size=50),
    max_forwards=st.integers(0, 255),
    display_name=TEXT,
    expires_at=st.none() | st.integers(0, 2**50),
    headers=st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple),
    call_id=TEXT,
    at=st.integers(0, 2**50),
)
REQUESTS = st.builds(
    RoomRequest,
    type=TEXT,
    sender=TEXT,
    room=TEXT,
    user=TEXT,
    role=TEXT,
    private=st.booleans(),
    reason=TEXT,
    command=TEXT,
    detail=TEXT,
    data=DATA.map(RequestData.pack),
    event=TEXT,
    status=TEXT,
    text=TEXT,
)


def stored(fields: list[str | bytes]) -> list[bytes]:
    """Fields as Redis gives them back."""
    return [field.encode() if isinstance(field, str) else field for field in fields]


@given(REQUESTS)
def test_a_request_comes_back_from_the_stream_as_it_went_in(request_: RoomRequest) -> None:
    """Flat or as a mapping, every field is the same."""
    flat = stored(request_.to_fields())
    assert RoomRequest.from_fields(flat) == request_
    assert RoomRequest.from_fields(dict(zip(flat[::2], flat[1::2], strict=True))) == request_


@given(DATA)
def test_request_data_comes_back_from_its_packed_form(data: RequestData) -> None:
    """Body, types, expiry and headers are the same after packing and unpacking."""
    assert RequestData.unpack(data.pack()) == data


def test_packed_data_has_the_short_names_that_others_read() -> None:
    """The map's names are part of the layout in Redis; absent values take no room."""
    assert msgpack.unpackb(RequestData(body=b"x", call_id="c1@h", at=5).pack()) == {
        "ct": "text/plain", "body": b"x", "mf": 70, "name": "", "id": "c1@h", "at": 5,
    }  # fmt: skip


@pytest.mark.parametrize("data", [b"\xc1", b"\x93\x01", b"\x80", b"\x01", b"\x81\xa2ct\xa1x", b"\xff" * 9])
def test_data_that_is_not_ours_is_an_entry_error(data: bytes) -> None:
    """A damaged field is told apart from a fault of the program."""
    with pytest.raises(EntryError, match="data"):
        RequestData.unpack(data)


@pytest.mark.parametrize("fields", [[b"type", b"\xff"], [b"type"]])
def test_fields_that_are_not_ours_are_an_entry_error(fields: list[bytes]) -> None:
    """For requests and events alike, whatever is wrong: bad UTF-8, no number, an odd count."""
    with pytest.raises(EntryError):
        RoomRequest.from_fields(fields)
    with pytest.raises(EntryError):
        Event.from_fields(b"1-0", 0, [b"event", *fields[1:]] if fields[0] == b"type" else fields)


def test_an_event_reads_every_field() -> None:
    """Each field of an out-stream entry has its attribute."""
    fields = stored(
        ["event", "members", "room", "r@h", "to", "a@h b@h", "from", "a@h", "user", "b@h", "role", "admin"]
    ) + stored(["reason", "why", "command", "list", "detail", "d", "list", "owner:a@h", "more", "3"])
    fields += stored(["text", "some words", "nick", "Jürgen"])
    fields += stored(["data", RequestData(body=b"x", call_id="c", at=7).pack()])
    event = Event.from_fields(b"5-1", 3, fields)
    assert event == Event(
        "5-1", 3, "members", "r@h", ("a@h", "b@h"), "a@h", "b@h", "admin", "why", "list", "d", "owner:a@h",
        3, RequestData(body=b"x", call_id="c", at=7), "some words", "Jürgen",
    )  # fmt: skip
    assert (event.call_id, event.at) == ("c", 7)
    assert Event.from_fields("5-1", 3, dict(zip(fields[::2], fields[1::2], strict=True))) == event


def test_an_event_without_data_has_the_defaults() -> None:
    """Some events answer nobody's request; they are delivered all the same."""
    assert Event.from_fields(b"1-0", 0, [b"event", b"dropped"]).data == RequestData()


def test_the_call_id_of_an_entry_is_found_whatever_else_it_holds() -> None:
    """Log lines about entries that cannot be read name it, too."""
    data = RequestData(call_id="c1@h").pack()
    assert call_id_of([b"type", b"help", b"data", data]) == "c1@h"
    assert call_id_of([b"type", b"\xff", b"data", data[:-3]]) == ""
    assert call_id_of([b"type", b"help", b"data"]) == ""
    assert call_id_of([]) == ""
