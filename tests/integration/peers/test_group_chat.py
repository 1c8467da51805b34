"""Linphone's group chat: real clients, Debian's Kamailio as registrar and balancer, two edges and a worker.

The proxy runs ``deploy/kamailio/linphone.cfg``. Each wait is for a state, so no test depends on speed.
"""

from __future__ import annotations

import re
import secrets
import signal
import socket
from collections.abc import Callable

import pytest

from tests.integration.peers.baresip import Baresip
from tests.integration.peers.conftest import MakeBaresip
from tests.integration.peers.group_chat import (  # noqa: F401 # pytest finds fixtures by their import
    ALICE,
    BOB,
    CAROL,
    DAVE,
    MakeGroupLinphone,
    phone_fixture,
    telephony_fixture,
)
from tests.integration.peers.group_linphone import GroupLinphone
from tests.integration.peers.telephony import DOMAIN, Platform
from tests.patience import PATIENCE
from tests.processes import wait_until

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_room_is_made_and_all_talk_in_it(phone: MakeGroupLinphone, transport: str) -> None:
    """Each sees the others, the creator as administrator; receipts reach the author."""
    alice, bob, carol = (phone(name, transport=transport) for name in ("alice", "bob", "carol"))
    room = alice.create("Weekly méeting", BOB, CAROL)
    alice.wait_for_room(room, bob=False, carol=False)
    bob.wait_for_room(room, alice=True, carol=False)
    carol.wait_for_room(room, alice=True, bob=False)
    bob.wait_for_subject(room, "Weekly méeting")
    alice.wait_until_admin(room)

    alice.write(room, "hello from alice")
    bob.wait_for_text(room, "hello from alice", ALICE)
    carol.wait_for_text(room, "hello from alice", ALICE)
    alice.assert_is("delivered", "hello from alice")
    bob.mark_as_read(room)
    carol.mark_as_read(room)
    alice.assert_is("displayed", "hello from alice")
    bob.write(room, "and from bob")
    for member in (alice, carol):
        member.wait_for_text(room, "and from bob", BOB)
    for member in (alice, bob, carol):
        assert len(member.texts_in(room)) == len(set(member.texts_in(room)))


def test_administrators_change_a_room(phone: MakeGroupLinphone) -> None:
    """Add, subject, role, remove; who may not is refused, and who leaves is gone for all."""
    alice, bob, carol = (phone(name) for name in ("alice", "bob", "carol"))
    room = alice.create("before", BOB)
    bob.wait_for_room(room, alice=True)
    alice.add(room, CAROL)
    carol.wait_for_room(room, alice=True, bob=False)
    bob.wait_for_room(room, alice=True, carol=False)
    alice.rename(room, "after")
    for member in (bob, carol):
        member.wait_for_subject(room, "after")

    alice.promote(room, BOB)
    bob.wait_until_admin(room)
    carol.wait_for_room(room, alice=True, bob=True)
    bob.rename(room, "by an administrator whom the room has invited")
    for member in (alice, carol):
        member.wait_for_subject(room, "by an administrator whom the room has invited")
    bob.remove(room, CAROL)
    carol.wait_until_left(room)
    alice.wait_for_room(room, bob=True)
    alice.demote(room, BOB)
    alice.wait_for_room(room, bob=False)
    bob.leave_room(room)
    alice.wait_for_room(room)
    bob.wait_until_left(room)


def test_many_users_are_added_at_once(phone: MakeGroupLinphone) -> None:
    """Linphone sends all its REFERs together, and answers the challenges to two of them."""
    alice, bob = phone("alice"), phone("bob")
    room = alice.create("many", BOB)
    bob.wait_for_room(room, alice=True)
    others = {"carol": False} | {f"member{number}": False for number in range(9)}
    carol = phone("carol")
    alice.add(room, *(f"{name}@{DOMAIN}" for name in others))
    bob.wait_for_room(room, alice=True, **others)
    carol.wait_for_room(room, alice=True, bob=False, **{name: False for name in others if name != "carol"})


def test_another_connection_adds_nobody_in_the_name_of_a_user(
    phone: MakeGroupLinphone, telephony: Platform
) -> None:
    """A REFER needs no credentials only over the connection over which its sender has registered."""
    alice = phone("alice")
    room = alice.create("mine", BOB)
    refer = (
        f"REFER sip:{room} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1;rport\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:{ALICE}>;tag=1\r\nTo: <sip:{room}>\r\n"
        f"Call-ID: {secrets.token_hex(8)}\r\nCSeq: 1 REFER\r\nContact: <sip:{ALICE}>\r\n"
        f"Refer-To: <sip:{CAROL}>;text\r\nContent-Length: 0\r\n\r\n"
    )
    with socket.create_connection(telephony.address, timeout=PATIENCE) as connection:
        connection.sendall(refer.encode())
        assert connection.recv(65536).startswith(b"SIP/2.0 407 ")


@pytest.mark.parametrize("subject", ["x" * 201, ""])
def test_a_subject_that_no_room_can_have_ends_nothing(
    phone: MakeGroupLinphone, subject: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room keeps its subject, in a session that the client has begun and after a restart without one."""
    monkeypatch.setenv("LINPHONE_LOG", "1")
    alice, bob = phone("alice"), phone("bob")
    room = alice.create("first", BOB)
    bob.wait_for_room(room, alice=True)
    for after in ("second", "third"):
        before = _answers("INVITE", alice.log())
        alice.rename(room, subject)
        wait_until(lambda before=before: _answers("INVITE", alice.log()) > before, "an answer", PATIENCE)  # type: ignore[misc]
        alice.rename(room, after)
        bob.wait_for_subject(room, after)
        alice.wait_for_subject(room, after)
        assert not alice.has_left(room)
        alice.stop()
        alice.start()
    assert {event["subject"] for event in bob.room_events()} <= {"", "first", "second", "third"}


def test_a_client_that_was_off_gets_roster_and_messages(phone: MakeGroupLinphone) -> None:
    """It subscribes to the list of its rooms after the restart, and gets what it missed in order."""
    alice, bob, carol = (phone(name) for name in ("alice", "bob", "carol"))
    room = alice.create("memory", BOB)
    bob.wait_for_room(room, alice=True)
    alice.write(room, "before")
    bob.wait_for_text(room, "before", ALICE)
    bob.stop()
    for number in range(3):
        alice.write(room, f"missed {number}")
    alice.add(room, CAROL)
    carol.wait_for_room(room, alice=True, bob=False)
    alice.rename(room, "renamed while bob was off")
    bob.start()
    bob.wait_for_text(room, "missed 2", ALICE)
    assert bob.texts_in(room) == ["before", "missed 0", "missed 1", "missed 2"]
    bob.wait_for_room(room, alice=True, carol=False)
    bob.wait_for_subject(room, "renamed while bob was off")
    carol.write(room, "welcome back")
    bob.wait_for_text(room, "welcome back", CAROL)


def test_a_client_that_was_started_again_has_no_session(phone: MakeGroupLinphone) -> None:
    """It makes one to change the subject, and one to leave."""
    alice, bob = (phone(name) for name in ("alice", "bob"))
    room = alice.create("before", BOB)
    bob.wait_for_room(room, alice=True)
    for member in (alice, bob):
        member.stop()
        member.start()
    alice.rename(room, "after")
    bob.wait_for_subject(room, "after")
    bob.leave_room(room)
    alice.wait_for_room(room)
    bob.wait_until_left(room)


@pytest.mark.parametrize("is_registered", [False, True])
def test_a_client_that_was_off_is_invited_when_it_comes(
    phone: MakeGroupLinphone, is_registered: bool
) -> None:
    """It gets the messages since it was added. The registrar may still have had it when it was invited."""
    alice, bob = phone("alice"), phone("bob")
    if is_registered:
        bob.vanish()
    else:
        bob.stop()
    room = alice.create("later", BOB)
    alice.write(room, "are you there?")
    bob.start()
    bob.wait_for_room(room, alice=True)
    bob.wait_for_text(room, "are you there?", ALICE)


def test_a_client_that_was_off_learns_that_it_was_removed(phone: MakeGroupLinphone) -> None:
    """And takes part again when it is added again."""
    alice, bob = phone("alice"), phone("bob")
    room = alice.create("removed", BOB)
    alice.wait_for_room(room, bob=False)
    bob.wait_for_room(room, alice=True)
    bob.stop()
    alice.remove(room, BOB)
    alice.wait_for_room(room)
    bob.start()
    bob.wait_until_ended(room)
    alice.add(room, BOB)
    bob.wait_for_room(room, alice=True)
    alice.write(room, "back again")
    bob.wait_for_text(room, "back again", ALICE)


def test_each_device_of_a_user_gets_each_message_once(phone: MakeGroupLinphone) -> None:
    """Also what another device of the user wrote."""
    alice, bob = phone("alice"), phone("bob")
    tablet = phone("bob", device="tablet")
    room = alice.create("two devices", BOB)
    for device in (bob, tablet):
        device.wait_for_room(room, alice=True)
    alice.wait_for_devices(room, BOB, 2)
    alice.write(room, "to both")
    for device in (bob, tablet):
        device.wait_for_text(room, "to both", ALICE)
    tablet.write(room, "from the tablet")
    alice.wait_for_text(room, "from the tablet", BOB)
    bob.wait_for_text(room, "from the tablet", BOB)
    bob.write(room, "from the phone")
    tablet.wait_for_text(room, "from the phone", BOB)
    alice.wait_for_text(room, "from the phone", BOB)
    assert bob.texts_in(room) == ["to both", "from the tablet"]
    assert tablet.texts_in(room) == ["to both", "from the phone"]
    assert alice.texts_in(room) == ["from the tablet", "from the phone"]


def test_a_device_that_comes_later_is_invited_by_itself(phone: MakeGroupLinphone) -> None:
    """Once, with what was said since its user was added; the first device goes on as before."""
    alice, bob = phone("alice"), phone("bob")
    room = alice.create("later device", BOB)
    bob.wait_for_room(room, alice=True)
    alice.write(room, "before the tablet")
    bob.wait_for_text(room, "before the tablet", ALICE)
    tablet = phone("bob", device="tablet")
    tablet.wait_for_room(room, alice=True)
    tablet.wait_for_text(room, "before the tablet", ALICE)
    alice.wait_for_devices(room, BOB, 2)
    alice.write(room, "to both")
    for device in (bob, tablet):
        device.wait_for_text(room, "to both", ALICE)
    assert bob.texts_in(room) == ["before the tablet", "to both"]
    bob.rename(room, "not allowed")
    alice.rename(room, "two devices now")
    for device in (bob, tablet):
        device.wait_for_subject(room, "two devices now")
    bob.leave_room(room)
    alice.wait_for_room(room)
    tablet.wait_until_left(room)


def test_the_author_hears_once_of_a_reader_with_two_devices(
    phone: MakeGroupLinphone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One receipt says "delivered" and one "displayed". Those of the second device go no further."""
    monkeypatch.setenv("LINPHONE_LOG", "1")
    alice, bob, tablet = phone("alice"), phone("bob"), phone("bob", device="tablet")
    room = alice.create("receipts", BOB)
    for device in (bob, tablet):
        device.wait_for_room(room, alice=True)
    alice.wait_for_devices(room, BOB, 2)
    alice.write(room, "once")
    for device in (bob, tablet):
        device.wait_for_text(room, "once", ALICE)
    alice.assert_is("delivered", "once")
    bob.mark_as_read(room)
    alice.assert_is("displayed", "once")
    tablet.mark_as_read(room)
    wait_until(lambda: _says_displayed(tablet.log()), "a 202 to the receipt of the tablet", PATIENCE)
    tablet.write(room, "after all receipts")
    alice.wait_for_text(room, "after all receipts", BOB)
    told = [alice.log().count(f"<{status}/>") for status in ("delivered", "displayed")]
    assert told == [1, 1]


def _says_displayed(log: str) -> bool:
    """Whether this client got a 202 to a receipt that says "displayed". Its log has the body first."""
    sent = re.search(r"<display-notification>.*?\nCall-ID: (\S+)", log, re.DOTALL)
    answer = r"SIP/2\.0 202 [^\n]*\n(?:[^\n]+\n)*?Call-ID: "
    return sent is not None and re.search(answer + re.escape(sent[1]), log) is not None


def test_the_author_hears_of_all_that_a_client_gets_when_it_is_back(phone: MakeGroupLinphone) -> None:
    """The client packs its receipts into one body, which is longer than messages may be."""
    alice, bob = phone("alice"), phone("bob")
    room = alice.create("many receipts", BOB)
    bob.wait_for_room(room, alice=True)
    bob.stop()
    texts = [f"missed {number}" for number in range(40)]
    for text in texts:
        alice.write(room, text)
    bob.start()
    bob.wait_for_text(room, texts[-1], ALICE)
    for text in texts:
        alice.assert_is("delivered", text)
    bob.mark_as_read(room)
    for text in texts:
        alice.assert_is("displayed", text)


def test_a_text_user_takes_part_with_commands(
    phone: MakeGroupLinphone, baresip: MakeBaresip, telephony: Platform
) -> None:
    """All kinds of users and the operator see the same members."""
    alice, bob = phone("alice"), phone("bob")
    room = alice.create("mixed", BOB)
    bob.wait_for_room(room, alice=True)
    carol = baresip("carol", room)
    alice.write(room, f"#add {CAROL}")
    for member, other in ((alice, {"bob": False}), (bob, {"alice": True})):
        member.wait_for_room(room, carol=False, **other)
    carol.assert_gets_eventually(".*has added you to this room.*")
    carol.message("hello from baresip")
    for member in (alice, bob):
        member.wait_for_text(room, "hello from baresip", CAROL)
    bob.write(room, "hello from Linphone")
    carol.assert_gets_eventually(f"<{BOB}>: hello from Linphone")
    carol.message("#list")
    carol.assert_gets_eventually(rf".*{ALICE} \(owner\).*{BOB}.*{CAROL}.*")
    listed = telephony.imc("mi", "imc_list_members", room)
    assert all(member in listed for member in (ALICE, BOB, CAROL))
    alice.write(room, f"#remove {CAROL}")
    for member, other in ((alice, {"bob": False}), (bob, {"alice": True})):
        member.wait_for_room(room, **other)


def test_a_room_made_by_a_command_appears_in_linphone(phone: MakeGroupLinphone, baresip: MakeBaresip) -> None:
    """On a device that is registered when its user is added, and on one that comes later."""
    alice = phone("alice")
    room = f"chat-{secrets.token_hex(4)}@{DOMAIN}"
    carol: Baresip = baresip("carol", room)
    carol.message("#create")
    carol.assert_gets_eventually(".*You have created.*")
    for user in (ALICE, DAVE):
        carol.message(f"#add {user}")
    carol.message("hello from baresip")
    dave = phone("dave")
    for member, other in ((alice, {"dave": False}), (dave, {"alice": False})):
        member.wait_for_room(room, carol=True, **other)
        member.wait_for_text(room, "hello from baresip", CAROL)
    alice.write(room, "hello from Linphone")
    carol.assert_gets_eventually(f"<{ALICE}>: hello from Linphone")


def test_a_killed_edge_is_not_noticed(phone: MakeGroupLinphone, telephony: Platform) -> None:
    """Each step of a conversation goes on with the other edge, and the roster is right."""
    alice, bob, carol = (phone(name) for name in ("alice", "bob", "carol"))
    room = alice.create("edges", BOB)
    bob.wait_for_room(room, alice=True)
    for edge in telephony.edges.values():
        edge.end(signal.SIGKILL)
        alice.write(room, f"without {edge.name}")
        bob.wait_for_text(room, f"without {edge.name}", ALICE)
        alice.add(room, CAROL)
        carol.wait_for_room(room, alice=True, bob=False)
        alice.rename(room, f"without {edge.name}")
        for member in (bob, carol):
            member.wait_for_subject(room, f"without {edge.name}")
        edge.start()
        telephony.wait_for_edges(2)
        alice.remove(room, CAROL)
        carol.wait_until_left(room)
        bob.wait_for_room(room, alice=True)


def test_a_worker_that_is_killed_is_not_noticed(phone: MakeGroupLinphone, telephony: Platform) -> None:
    """What was accepted takes effect when a worker is there again, and once."""
    alice, bob, carol = (phone(name) for name in ("alice", "bob", "carol"))
    room = alice.create("worker", BOB)
    bob.wait_for_room(room, alice=True)
    telephony.worker.end(signal.SIGKILL)
    alice.add(room, CAROL)
    alice.write(room, "while no worker runs")
    telephony.worker.start()
    carol.wait_for_room(room, alice=True, bob=False)
    bob.wait_for_room(room, alice=True, carol=False)
    bob.wait_for_text(
        room, "while no worker runs", ALICE
    )  # carol perhaps not: REFER and MESSAGE may change places
    assert bob.texts_in(room) == ["while no worker runs"]


def test_a_room_that_is_made_while_no_worker_runs_is_shown_later(
    phone: MakeGroupLinphone, telephony: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its creator subscribes to the roster at once, and only once."""
    monkeypatch.setenv("LINPHONE_LOG", "1")
    alice, bob = phone("alice"), phone("bob")
    telephony.worker.end(signal.SIGKILL)
    room = alice.create("no worker", BOB)
    wait_until(lambda: _answers("SUBSCRIBE", alice.log()) > 0, "an answer to its SUBSCRIBE", PATIENCE)
    telephony.worker.start()
    alice.wait_for_room(room, bob=False)
    alice.wait_until_admin(room)
    bob.wait_for_room(room, alice=True)


def test_a_client_that_was_killed_while_it_made_a_room_comes_back_into_it(
    phone: MakeGroupLinphone, telephony: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has not stored the room, of which it had no roster: it is invited, and misses nothing."""
    monkeypatch.setenv("LINPHONE_LOG", "1")
    alice, bob = phone("alice"), phone("bob")
    telephony.worker.end(signal.SIGKILL)
    room = alice.create("killed", BOB)
    wait_until(lambda: _answers("SUBSCRIBE", alice.log()) > 0, "an answer to its SUBSCRIBE", PATIENCE)
    alice.vanish()
    telephony.worker.start()
    bob.wait_for_room(room, alice=True)
    bob.write(room, "where are you?")
    alice.start()
    alice.wait_for_room(room, bob=False)
    alice.wait_until_admin(room)
    alice.wait_for_text(room, "where are you?", BOB)


def test_a_client_that_was_killed_when_it_had_accepted_comes_into_the_room(
    phone: MakeGroupLinphone, telephony: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has not stored the room, whether it had subscribed or not. The next message shows that."""
    monkeypatch.setenv("LINPHONE_LOG", "1")
    alice, bob = phone("alice"), phone("bob")
    for number in range(3):
        before = _answers("INVITE", bob.log())
        room = alice.create(f"killed {number}", BOB)
        wait_until(lambda before=before: _answers("INVITE", bob.log()) > before, "its answer", PATIENCE)  # type: ignore[misc]
        telephony.worker.end(signal.SIGKILL)
        bob.vanish()
        telephony.worker.start()
        bob.start()
        alice.write(room, "are you there?")
        bob.wait_for_text(room, "are you there?", ALICE)
        bob.wait_for_room(room, alice=True)


def _answers(method: str, log: str) -> int:
    """How many final responses to such requests this client got, besides challenges."""
    return len(re.findall(r"SIP/2\.0 (?!1|407)\d+ [^\n]*\n(?:[^\n]+\n)*?CSeq: \d+ " + method, log))


def test_a_client_that_was_killed_comes_back_into_its_rooms(phone: MakeGroupLinphone) -> None:
    """It has lost its sessions, and its registration was still there; then it is removed."""
    alice, bob = phone("alice"), phone("bob")
    room = alice.create("killed", BOB)
    bob.wait_for_room(room, alice=True)
    bob.vanish()
    alice.write(room, "to nobody")
    alice.rename(room, "renamed meanwhile")
    bob.start()
    bob.wait_for_text(room, "to nobody", ALICE)
    bob.wait_for_subject(room, "renamed meanwhile")
    alice.remove(room, BOB)
    bob.wait_until_left(room)
    alice.wait_for_room(room)


def test_a_telephone_without_group_chat_gets_texts(phone: MakeGroupLinphone, baresip: MakeBaresip) -> None:
    """Its refusal of the INVITE, or its ringing, tells so."""
    alice, carol = phone("alice"), baresip("carol", f"chat-{secrets.token_hex(4)}@{DOMAIN}")
    room = alice.create("telephone", CAROL)
    alice.wait_for_room(room, carol=False)
    alice.write(room, "hello telephone")
    carol.assert_gets_eventually(f"<{ALICE}>: hello telephone")


def test_a_message_that_vanishes_is_passed_on_as_it_is_marked(phone: MakeGroupLinphone) -> None:
    """Ephemeral messages, and a room of two."""
    alice, bob = phone("alice"), phone("bob")
    room = alice.create("", BOB)
    bob.wait_for_room(room, alice=True)
    alice.write(room, "gone in an hour", ephemeral=3600)
    assert bob.wait_for_text(room, "gone in an hour", ALICE)["ephemeral"]
    group = alice.create("a group", BOB)
    bob.wait_for_room(group, alice=True)
    for device in (alice, bob):
        assert [device.is_one_to_one(each) for each in (room, group)] == [True, False]
    bob.stop()
    bob.start()
    bob.wait_for_room(group, alice=True)
    assert [bob.is_one_to_one(each) for each in (room, group)] == [True, False]
    tablet = phone("bob", device="tablet")
    tablet.wait_for_room(room, alice=True)
    assert tablet.is_one_to_one(room)


@pytest.mark.parametrize("way", [GroupLinphone.delete, GroupLinphone.leave_room])
def test_a_chat_of_two_that_one_has_deleted_comes_back_with_the_next_message(
    phone: MakeGroupLinphone, way: Callable[[GroupLinphone, str], None]
) -> None:
    """On all devices of that user, also after a restart; the other one sees no change."""
    alice, bob = phone("alice"), phone("bob")
    tablet = phone("bob", device="tablet")
    room = alice.create("", BOB)
    for device in (bob, tablet):
        device.wait_for_room(room, alice=True)
    alice.write(room, "one")
    for device in (bob, tablet):
        device.wait_for_text(room, "one", ALICE)
    way(bob, room)
    tablet.wait_until_ended(room)
    alice.wait_for_devices(room, BOB, 0)
    bob.stop()
    bob.start()
    alice.write(room, "two")
    for device in (bob, tablet):
        device.wait_for_text(room, "two", ALICE)
        assert device.texts_in(room) == ["one", "two"]
    bob.write(room, "three")
    alice.wait_for_text(room, "three", BOB)
    alice.wait_for_room(room, bob=False)
    assert set(alice.rooms()) == {room}
