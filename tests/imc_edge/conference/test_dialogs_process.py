"""Dialogs with real edges and a real Redis: any edge goes on with what another one has begun."""

from __future__ import annotations

import json
import secrets
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from imc_common import keys
from imc_common.keys import Keys, shard_of
from imc_common.sip.message import Request, Response
from imc_common.sip.parse import parse_message
from tests.imc_edge.conference.requests import DEVICE, FACTORY, GRUU, ROOM, invite, request, subscribe
from tests.imc_edge.process import User, edge_process, eventually
from tests.servers import Server, running

pytestmark = pytest.mark.integration

VIA = "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK776;rport"


@pytest.fixture
def server() -> Iterator[Server]:
    with (
        tempfile.TemporaryDirectory() as folder,
        running("redis-server", Path(folder), "--maxmemory-policy", "noeviction") as server,
    ):
        yield server


def entries(server: Server, room: str) -> list[dict[bytes, bytes]]:
    """The requests to the worker of this room."""
    with redis.Redis(unix_socket_path=server.socket) as client:
        found = client.xrange(keys.requests(shard_of(room, 4)))
        return [fields for _, fields in found]  # type: ignore[union-attr, str-unpack]


def test_an_invite_that_one_edge_takes_goes_on_at_another(server: Server, tmp_path: Path) -> None:
    """RFC 3261 §13.3.1.4: the first is killed before the ACK. A retransmission gets the same room and tag."""
    with edge_process(tmp_path, server.url) as one, edge_process(tmp_path, server.url) as other:
        with User(one.endpoints()[0]) as alice:
            first = alice.ask(invite("sip:bob@example.org", Via=VIA))
            assert first.status == 200
            repeated = alice.response()
            assert repeated.headers.items == first.headers.items, "until the ACK comes"
        one.end(signal.SIGKILL)
        room = (first.headers.get("Contact") or "").partition("<sip:")[2].partition(">")[0]
        with User(other.endpoints()[0]) as alice:
            again = alice.ask(invite("sip:bob@example.org", Via=VIA))
            assert again.headers.get("Contact") == first.headers.get("Contact")
            assert again.to_tag == first.to_tag
            to = f"<{FACTORY}>;tag={first.to_tag}"
            ack = request(
                "ACK",
                f"sip:{room}",
                To=to,
                From="<sip:alice@example.org>;tag=1928",
                Via=VIA,
                without=["Contact"],
            )
            alice.send(ack)
            alice.send(ack)
            eventually(lambda: len(entries(server, room)) == 2)
    kinds = [fields[b"type"] for fields in entries(server, room)]
    assert kinds == [b"open_conference", b"confirm_dialog"], "each once"


def test_an_ack_that_comes_to_another_edge_ends_the_answer_of_the_first(
    server: Server, tmp_path: Path
) -> None:
    """The 200 would come for 32 s otherwise, at intervals of up to 4 s."""
    with (
        edge_process(tmp_path, server.url) as one,
        edge_process(tmp_path, server.url) as other,
        User(one.endpoints()[0]) as alice,
        User(other.endpoints()[0]) as same,
    ):
        answer = alice.ask(invite("sip:bob@example.org", Via=VIA))
        room = (answer.headers.get("Contact") or "").partition("<sip:")[2].partition(">")[0]
        about = {"To": f"<{FACTORY}>;tag={answer.to_tag}", "From": "<sip:alice@example.org>;tag=1928"}
        answers = 1
        same.send(request("ACK", f"sip:{room}", Via=VIA, without=["Contact"], **about))
        while not is_silent(alice, 4.5):
            answers += 1
            same.send(request("ACK", f"sip:{room}", Via=VIA, without=["Contact"], **about))
    assert answers < 6, "of eleven"


def test_a_second_invite_before_the_answer_to_the_first_comes_again_later(
    server: Server, tmp_path: Path
) -> None:
    """RFC 3261 §14.2: 500 with Retry-After. Redis is slow, so the first one is pending."""
    shard, names = shard_of(ROOM, 4), Keys()
    with redis.Redis(unix_socket_path=server.socket) as client:
        client.hset(names.room(shard, ROOM), mapping={"private": "1"})
        client.hset(names.members(shard, ROOM), mapping={"alice@example.org": "owner devices"})
        with edge_process(tmp_path, server.url) as edge, User(edge.endpoints()[0]) as alice:
            entered = alice.ask(request("INVITE", Via=VIA, CSeq="1 INVITE"))
            to = f"<sip:{ROOM}>;tag={entered.to_tag}"
            alice.send(request("ACK", Via=VIA, CSeq="1 ACK", To=to))
            first, second = (
                request("INVITE", Via=VIA, CSeq=f"{number} INVITE", To=to, Subject=f"{number}")
                for number in (2, 3)
            )
            client.client_pause(20_000)
            alice.send(first)
            refused = answer_to(alice, second)
            client.client_unpause()
            assert refused.status == 500
            assert 0 <= int(refused.headers.get("Retry-After") or "-1") <= 10
            for data in (first, second):
                while (again := answer_to(alice, data)).status == 503:
                    time.sleep(0.5)  # the edge has waited for Redis for too long
                assert again.status == 200
    topics = [fields[b"text"] for fields in entries(server, ROOM) if fields[b"type"] == b"topic"]
    assert topics == [b"2", b"3"]


def answer_to(user: User, data: bytes) -> Response:
    """The response to a request, which is sent in a transaction of its own."""
    branch = f"hG4bK{secrets.token_hex(8)}"
    user.send(data.replace(b"hG4bK776", branch.encode()))
    while branch not in str((response := user.response()).headers.get("Via")):
        pass
    return response


def is_silent(user: User, seconds: float) -> bool:
    """Whether nothing comes for so long; what has come until then is read."""
    user._socket.settimeout(seconds)
    try:
        user.response()
    except TimeoutError:
        return True
    return False


def test_members_subscribe_and_strangers_do_not(server: Server, tmp_path: Path) -> None:
    """The edge looks into the room; what it keeps of the dialog is in Redis."""
    shard, names = shard_of(ROOM, 4), Keys()
    with redis.Redis(unix_socket_path=server.socket) as client:
        client.hset(names.room(shard, ROOM), mapping={"private": "1"})
        client.hset(names.members(shard, ROOM), mapping={"alice@example.org": "owner devices"})
    with edge_process(tmp_path, server.url) as edge, User(edge.endpoints()[0]) as alice:
        assert alice.ask(subscribe(Via=VIA)).status == 200
        stranger = subscribe(Via=VIA, Call_ID="x", From="<sip:eve@example.org;gr=1>;tag=1")
        assert alice.ask(stranger.replace(GRUU.encode(), b"sip:eve@example.org;gr=1")).status == 404
    (fields,) = entries(server, ROOM)
    assert (fields[b"type"], fields[b"device"]) == (b"subscribe", DEVICE.encode())
    assert json.loads(fields[b"dialog"])["target"] == GRUU


def test_another_edge_sends_what_a_killed_one_has_left(server: Server, tmp_path: Path) -> None:
    """A BYE without response when its edge dies: the next owner sends it, with a higher CSeq."""
    settings = {"lease_ttl": 1}
    with edge_process(tmp_path, server.url, **settings) as one, User(one.endpoints()[0]) as bob:
        device = f"bob@127.0.0.1:{bob.port};gr=urn:uuid:1"
        dialog = {"call_id": "c1", "local_tag": "l", "remote_tag": "r", "local_uri": f"sip:{ROOM}"}
        dialog |= {"remote_uri": f"sip:{device}", "target": f"sip:{device}", "routes": []}
        event = {
            "event": "bye",
            "room": ROOM,
            "from": ROOM,
            "to": device,
            "data": "",
            "dialog": json.dumps(dialog),
        }
        with redis.Redis(unix_socket_path=server.socket) as client:
            client.xadd(keys.events(shard_of(ROOM, 4)), event)  # type: ignore[arg-type]
            numbers = [next_bye(bob)]
            with edge_process(tmp_path, server.url, **settings):
                one.end(signal.SIGKILL)
                while (number := next_bye(bob)) == numbers[0]:
                    pass  # a retransmission of the first
                assert number > numbers[0]


def next_bye(user: User) -> int:
    """CSeq of the next request that comes."""
    found = parse_message(user._socket.recv(65536))
    assert isinstance(found, Request)
    assert found.method == "BYE"
    return found.cseq.number
