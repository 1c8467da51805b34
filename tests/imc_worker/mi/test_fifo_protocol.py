"""Both protocols of mi_fifo: what is read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_worker.mi.fifo_protocol import (
    MAX_BUFFER,
    FifoParser,
    FifoRequest,
    Node,
    tree_of,
    written_tree,
)


def parsed(*pieces: bytes) -> list[FifoRequest]:
    """The requests in these bytes, whichever way they are cut."""
    parser = FifoParser()
    return [request for piece in pieces for request in parser.feed(piece)]


def tree(command: str, reply: str, *args: str) -> FifoRequest:
    """A request of the old protocol."""
    return FifoRequest("tree", reply, command=command, args=args)


def test_the_old_protocol_ends_with_an_empty_line() -> None:
    """Command and reply FIFO, then one line per argument."""
    assert parsed(b":imc_list_rooms:reply_fifo\n\n") == [tree("imc_list_rooms", "reply_fifo")]
    sent = b":imc_list_members:reply_fifo\nsip:chat-000@opensips.org\n\n"
    assert parsed(sent) == [tree("imc_list_members", "reply_fifo", "sip:chat-000@opensips.org")]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b"plain", "plain"),
        (b"  spaced  ", "spaced"),
        (b"name::value", "value"),
        (b"name:: value ", "value"),
        (b"name::", ""),
        (b'"quoted one"', "quoted one"),
        (b'name::"quoted one"', "quoted one"),
        (rb'"a \"b\" c"', 'a "b" c'),
        (b'"two\nlines"', "two\nlines"),
    ],
)
def test_arguments_of_the_old_protocol_are_read_like_mi_parser(line: bytes, value: str) -> None:
    """Lines of spaces are ignored."""
    assert parsed(b":c:r\n  \t \n" + line + b"\n\n") == [tree("c", "r", value)]


@pytest.mark.parametrize("line", [b'a"b', b'n"x::v', b'n::v"w', b'"never ended'])
def test_invalid_arguments_get_an_error_reply(line: bytes) -> None:
    """The reply FIFO is known."""
    assert parsed(b":c:r\n" + line + b"\n\n") == [FifoRequest("tree", "r", command="c", args=None)]


def test_a_json_request_ends_with_its_value() -> None:
    """Clients send no line end; the next request may follow at once."""
    one, two = b':r1:{"id": 1}', b' :r2:[{"id":\n 2}]\n'
    assert parsed(one + two + b":c:r\n\n") == [
        FifoRequest("json", "r1", '{"id": 1}'),
        FifoRequest("json", "r2", '[{"id":\n 2}]'),
        tree("c", "r"),
    ]


def test_a_request_without_a_reply_fifo_gets_no_reply() -> None:
    assert parsed(b":: {}") == [FifoRequest("json", "", "{}")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"hello\n\n", "begin"),
        (b":hello\n\n", "second"),
        (b":" + b"x" * 2000, "second"),
        (b"::x\n\n", "empty"),
        (b":r:{" + b'"a":1,' * MAX_BUFFER, "long"),
    ],
)
def test_other_lines_are_skipped(data: bytes, reason: str) -> None:
    """Up to the next empty line; the next request is understood."""
    parser = FifoParser()
    (bad,) = parser.feed(data)
    assert bad.kind == "bad"
    assert reason in bad.text
    parser.drop()
    assert parser.feed(b":c:r\n\n") == [tree("c", "r")]


def test_kamctls_requests_name_their_reply_fifo_in_json() -> None:
    """As kamctl and kamcmd's FIFO form write them: no colons, over several lines."""
    text = (
        '{\n  "jsonrpc": "2.0",\n  "method": "imc.list_rooms",\n  "reply_name": "kamailio_receiver_7",'
        '\n  "params": [],\n  "id": 7\n}'
    )
    data = text.encode()
    assert parsed(data) == [FifoRequest("json", "kamailio_receiver_7", text)]
    assert parsed(data[:30], data[30:] + b"\n:c:r\n\n") == [
        FifoRequest("json", "kamailio_receiver_7", text),
        tree("c", "r"),
    ]
    assert parsed(b"::" + data) == [FifoRequest("json", "kamailio_receiver_7", text)]
    assert parsed(b':r:{"reply_name": "x"}') == [FifoRequest("json", "r", '{"reply_name": "x"}')]
    assert parsed(b'{"reply_name": 7}') == [FifoRequest("json", "", '{"reply_name": 7}')]


def test_invalid_json_gets_an_error_reply() -> None:
    """The reply FIFO is known."""
    assert parsed(b":r:{nonsense}\n") == [FifoRequest("json", "r", "{nonsense}\n")]


@given(st.integers(0, 60), st.integers(0, 60))
def test_requests_are_the_same_however_they_are_cut(first: int, second: int) -> None:
    """A FIFO has no message boundaries."""
    sent = b':r1:{"a": "x\\"y"}:imc_list_members:r2\nsip:r@h\n\n\n:r3:{}'
    cuts = sorted((first, second))
    assert parsed(sent[: cuts[0]], sent[cuts[0] : cuts[1]], sent[cuts[1] :]) == parsed(sent)


@given(st.lists(st.binary(max_size=40)))
def test_no_input_raises(pieces: list[bytes]) -> None:
    requests = parsed(*pieces, b':r:"', b"\n\n")
    assert all(isinstance(request, FifoRequest) for request in requests)


def test_an_incomplete_request_can_be_dropped() -> None:
    """Its writer ended."""
    parser = FifoParser()
    parser.feed(b":r:{")
    assert parser.waiting
    parser.drop()
    assert not parser.waiting


def test_rooms_are_written_as_opensips_1_wrote_them() -> None:
    """A status line, a line for each room, an empty line."""
    rooms = {"ROOMS": [{"URI": "sip:a@h", "MEMBERS": 2, "OWNER": "sip:o@h"}]}
    assert written_tree(200, "OK", tree_of(rooms)) == (
        "200 OK\nROOM::  URI=sip:a@h MEMBERS=2 OWNER=sip:o@h\n\n"
    )


def test_members_are_written_as_opensips_1_wrote_them() -> None:
    """One level down, behind a tab."""
    members = {"ROOM": "sip:a@h", "MEMBERS": ["sip:x@h", "sip:y@h"], "NO_MEMBERS": 2}
    assert written_tree(200, "OK", tree_of(members)) == (
        "200 OK\nROOM:: sip:a@h NR_OF_MEMBERS=2\n\tMEMBER:: sip:x@h\n\tMEMBER:: sip:y@h\n\n"
    )


def test_statistics_and_other_results_are_written_as_lines() -> None:
    """A statistic as ``group:name = value``."""
    assert written_tree(200, "OK", tree_of({"imc:active_rooms": 3})) == "200 OK\nimc:active_rooms = 3\n\n"
    assert tree_of({"LEFT": ["a", "b"], "USER": "u"}) == (
        Node("LEFT", kids=(Node("", "a"), Node("", "b"))),
        Node("USER", "u"),
    )
    assert tree_of("x") == (Node(value="x"),)
    assert written_tree(404, "no such room") == "404 no such room\n\n"
