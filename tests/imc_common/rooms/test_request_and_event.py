"""Entries of streams: requests and events are the same before and after Redis. Covers request.py and
event.py."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_common.bodies.usual_cpim import UsualCpim
from imc_common.rooms.event import NO_HISTORY, Event
from imc_common.rooms.request import EntryError, RequestData, RoomRequest, call_id_of
from tests.imc_common.bodies.corpus import LINPHONE

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
    kept_ms=st.none() | st.integers(0, 2**50),
    message_id=TEXT,
    cpim=st.booleans(),
    device=TEXT,
    dialog=TEXT,
)


def stored(fields: list[str | bytes]) -> list[bytes]:
    """Fields as Redis gives them back."""
    return [field.encode() if isinstance(field, str) else field for field in fields]


def test_a_body_in_cpim_is_packed_in_its_shorter_form() -> None:
    """It is the same bytes afterwards."""
    usual = UsualCpim.parse(LINPHONE)
    assert usual is not None
    data = RequestData("message/cpim", LINPHONE, shortened=usual.shortened)
    assert len(data.pack()) < len(RequestData("message/cpim", LINPHONE).pack()) - 190
    assert RequestData.unpack(data.pack()) == data


@given(REQUESTS)
def test_a_request_survives_the_stream(request_: RoomRequest) -> None:
    """Flat or as a mapping, every field is the same."""
    flat = stored(request_.to_fields())
    assert RoomRequest.from_fields(flat) == request_
    assert RoomRequest.from_fields(dict(zip(flat[::2], flat[1::2], strict=True))) == request_


@pytest.mark.parametrize(
    ("kind", "message_id", "cpim"),
    [
        ("message", "", False),
        ("message", "", True),
        ("message", "m1", True),
        ("typing", "", True),
        ("disposition", "m1 -", False),
        ("disposition", "m1 -", True),
    ],
)
def test_a_body_in_cpim_is_known_as_such(kind: str, message_id: str, cpim: bool) -> None:
    """A message that asks for receipts is CPIM without saying so: a field costs more than it tells."""
    request = RoomRequest(kind, "a@b", "r@b", message_id=message_id, cpim=cpim)
    fields = request.to_fields()
    assert RoomRequest.from_fields(stored(fields)) == request
    assert not {"cpim", "message_id"} <= set(fields) or kind == "disposition"


@given(DATA)
def test_request_data_survives_packing(data: RequestData) -> None:
    """Body, types, expiry and headers are the same."""
    assert RequestData.unpack(data.pack()) == data


def test_packed_data_has_short_names() -> None:
    """They are part of the layout in Redis; absent values take no space."""
    assert msgpack.unpackb(RequestData(body=b"x", call_id="c1@h", at=5).pack()) == {
        "ct": "text/plain", "body": b"x", "mf": 70, "name": "", "id": "c1@h", "at": 5,
    }  # fmt: skip


@pytest.mark.parametrize("data", [b"\xc1", b"\x93\x01", b"\x80", b"\x01", b"\x81\xa2ct\xa1x", b"\xff" * 9])
def test_invalid_data_is_an_entry_error(data: bytes) -> None:
    """Damaged data is not a bug."""
    with pytest.raises(EntryError, match="data"):
        RequestData.unpack(data)


@pytest.mark.parametrize("fields", [[b"type", b"\xff"], [b"type"]])
def test_invalid_fields_are_an_entry_error(fields: list[bytes]) -> None:
    """Invalid UTF-8, no number, an odd number of fields; for requests and events."""
    with pytest.raises(EntryError):
        RoomRequest.from_fields(fields)
    with pytest.raises(EntryError):
        Event.from_fields(b"1-0", 0, [b"event", *fields[1:]] if fields[0] == b"type" else fields)


def test_every_field_of_an_event_has_an_attribute() -> None:
    fields = stored(
        ["event", "members", "room", "r@h", "to", "a@h b@h", "from", "a@h", "user", "b@h", "role", "admin"]
    ) + stored(["reason", "why", "command", "list", "detail", "d", "list", "owner:a@h", "more", "3"])
    fields += stored(["text", "some words", "nick", "Jürgen"])
    fields += stored(
        [
            "history_id",
            "4-0",
            "catch_up",
            "probe",
            "wait",
            "2000",
            "since",
            "3-0",
            "dialog",
            "{}",
            "joined",
            "2-0",
        ]
    )
    fields += stored(["data", RequestData(body=b"x", call_id="c", at=7).pack()])
    event = Event.from_fields(b"5-1", 3, fields)
    assert event == Event(
        "5-1", 3, "members", "r@h", ("a@h", "b@h"), actor="a@h", user="b@h", role="admin", reason="why",
        command="list", detail="d", list="owner:a@h",
        more=3, data=RequestData(body=b"x", call_id="c", at=7), text="some words", nick="Jürgen",
        history_id="4-0", catch_up="probe", wait=2000, since="3-0", dialog="{}", joined="2-0",
    )  # fmt: skip
    assert (event.call_id, event.at) == ("c", 7)
    assert Event.from_fields("5-1", 3, dict(zip(fields[::2], fields[1::2], strict=True))) == event


@pytest.mark.parametrize(("history_id", "position"), [("", "5-1"), ("4-0", "4-0"), (NO_HISTORY, "5-1")])
def test_a_message_is_named_by_its_place_in_the_history(history_id: str, position: str) -> None:
    """So a recipient recognises it, live or from the history; what is in no history has its entry's id."""
    assert Event("5-1", 3, "message", "r@h", ("a@h",), history_id=history_id).position == position


def test_an_event_without_data_has_the_defaults() -> None:
    """Some events do not follow from a request; they are delivered too."""
    assert Event.from_fields(b"1-0", 0, [b"event", b"dropped"]).data == RequestData()


def test_the_call_id_of_an_unreadable_entry_is_found() -> None:
    """Log lines about such entries have it too."""
    data = RequestData(call_id="c1@h").pack()
    assert call_id_of([b"type", b"help", b"data", data]) == "c1@h"
    assert call_id_of([b"type", b"\xff", b"data", data[:-3]]) == ""
    assert call_id_of([b"type", b"help", b"data"]) == ""
    assert call_id_of([]) == ""
