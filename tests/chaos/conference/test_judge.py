"""The judge of phones finds each kind of fault in what a phone got."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.conference import phone
from tests.chaos.conference.judge import Device, check_messages, check_roster
from tests.chaos.conference.roster import Entry, Roster
from tests.chaos.conference.wire import Message, message
from tests.chaos.history import Verdict
from tests.chaos.log import Kind, Received, Sent

ROOM = "room@example.org"
ALICE, BOB = "alice@example.org;gr=1", "bob@example.org;gr=1"


def order(*lines: tuple[Kind, str]) -> list[Received]:
    return [Received(ROOM, kind, what, what, at) for at, (kind, what) in enumerate(lines)]


SAID = order(
    (Kind.MESSAGE, "a1"),
    (Kind.JOINED, "bob"),
    (Kind.MESSAGE, "a2"),
    (Kind.MESSAGE, "a3"),
    (Kind.LEFT, "bob"),
    (Kind.MESSAGE, "a4"),
    (Kind.JOINED, "bob"),
    (Kind.MESSAGE, "a5"),
    (Kind.MESSAGE, "b1"),
)
SENT = [
    *(Sent(ROOM, ALICE, mark, accepted=True, at=0) for mark in ("a1", "a2", "a3", "a4", "a5")),
    Sent(ROOM, BOB, "b1", accepted=True, at=0),
]


def bob_gets(*marks: str, is_in: bool = True, may_echo: bool = False) -> Verdict:
    verdict = Verdict()
    bob = Device(BOB, "bob", is_in, list(marks), may_echo)
    check_messages(ROOM, SAID, SENT, first=["alice"], devices=[bob], verdict=verdict)
    return verdict


def test_a_device_gets_what_is_said_while_its_user_is_a_member() -> None:
    """bob was a member twice; he need not get his own message."""
    assert bob_gets("a2", "a3", "a5").ok


def test_a_device_that_was_away_when_its_user_left_may_lack_the_last_messages() -> None:
    """What a member misses before it leaves is not handed out."""
    assert bob_gets("a2", "a5").ok
    assert bob_gets("a5").ok


def test_a_gap_is_a_loss() -> None:
    """a3 cannot come without a2."""
    assert bob_gets("a3", "a5").lost == [f"{ROOM}: {BOB} never got a2"]


def test_a_member_in_the_room_lacks_nothing() -> None:
    """bob is a member at the end."""
    assert bob_gets("a2", "a3").lost == [f"{ROOM}: {BOB} never got a5"]


def test_a_device_that_has_not_entered_gets_nothing() -> None:
    """Another device of the same user has accepted the invitation."""
    assert bob_gets(is_in=False).ok
    assert bob_gets("a5", is_in=False).misdirected == [f"{ROOM}: {BOB} got a5 and was not a member"]


@pytest.mark.parametrize("mark", ["a1", "a4", "b1"])
def test_a_device_gets_nothing_from_before_after_or_of_itself(mark: str) -> None:
    """a1 came before bob, a4 while he was not a member, b1 is his own."""
    marks = sorted(["a2", "a3", "a5", mark], key=lambda each: (each[0], each))
    assert bob_gets(*marks).misdirected == [f"{ROOM}: {BOB} got {mark} and was not a member"]


def test_a_device_that_does_not_name_itself_may_get_its_own_message() -> None:
    """It was invited by its user's address."""
    assert bob_gets("a2", "a3", "a5", "b1", may_echo=True).ok
    assert bob_gets("a2", "a3", "a5", may_echo=True).ok


def test_a_device_that_does_not_name_itself_gets_what_others_of_its_user_say() -> None:
    """Nobody may be taken for the sender who is not."""
    verdict = Verdict()
    other = BOB.replace("gr=1", "gr=2")
    tablet = Device(other, "bob", True, ["a2", "a3", "a5"], may_echo=True)
    check_messages(ROOM, SAID, SENT, first=["alice"], devices=[tablet], verdict=verdict)
    assert verdict.lost == [f"{ROOM}: {other} never got b1"]


def test_another_order_than_that_of_the_room_is_found() -> None:
    """bob gets a3 before a2."""
    assert bob_gets("a3", "a2", "a5").reordered == [f"{ROOM}: {BOB} got a3 where a2 was due"]


def test_an_accepted_message_that_nobody_got_is_lost() -> None:
    """The sender got a 202."""
    verdict = Verdict()
    sent = [Sent(ROOM, ALICE, "a1", accepted=True, at=0)]
    check_messages(ROOM, [], sent, first=["alice"], devices=[], verdict=verdict)
    assert verdict.lost == [f"{ROOM}: a1 was accepted and never had its turn"]


# --- rosters


def info(version: int, state: str, users: str = "", subject: str = "") -> bytes:
    described = f"<conference-description><subject>{subject}</subject></conference-description>"
    return (
        f'<conference-info xmlns="urn:ietf:params:xml:ns:conference-info" entity="sip:{ROOM}" '
        f'state="{state}" version="{version}">{described if subject else ""}<users>{users}</users>'
        "</conference-info>"
    ).encode()


def user(name: str, *devices: str, role: str = "participant") -> str:
    endpoints = "".join(f'<endpoint entity="{each}"/>' for each in devices)
    return f'<user entity="{name}"><roles><entry>{role}</entry></roles>{endpoints}</user>'


def gone(name: str) -> str:
    return f'<user entity="{name}" state="deleted"/>'


@pytest.fixture
def roster() -> Roster:
    roster = Roster(BOB)
    roster.apply(info(1, "full", user("alice", "a;1", role="admin") + user("bob"), "before"))
    return roster


def test_a_roster_follows_its_versions(roster: Roster) -> None:
    """A user goes, another one gets a device, and the subject changes."""
    roster.apply(info(2, "partial", gone("alice")))
    roster.apply(info(3, "partial", user("bob", "b;1", role="admin"), "after"))
    findings: list[str] = []
    check_roster(roster, {"bob": Entry(True, frozenset({"b;1"}))}, "after", findings)
    assert findings == []


def test_a_version_that_comes_again_changes_nothing(roster: Roster) -> None:
    """An edge has died, and another one sends what it had sent."""
    second, third = info(2, "partial", gone("bob")), info(3, "partial", user("bob"))
    for document in (second, third, second, third):
        roster.apply(document)
    assert roster.findings == []
    assert roster.repeated == 2
    assert "bob" in roster.users


def test_a_full_roster_may_follow_versions_that_were_missed(roster: Roster) -> None:
    """The phone was away."""
    roster.apply(info(7, "full", user("carol")))
    assert roster.findings == []
    assert list(roster.users) == ["carol"]


@pytest.mark.parametrize(
    ("document", "finding"),
    [
        (info(3, "partial"), "skipped from version 1 to 3"),
        (info(1, "partial"), "version 1 came with two contents"),
        (info(0, "full"), "went back from version 1 to 0"),
    ],
)
def test_versions_that_skip_or_go_back_are_found(roster: Roster, document: bytes, finding: str) -> None:
    """RFC 4575 §4.4: each partial document has the next version."""
    roster.apply(document)
    assert roster.findings == [f"the roster of {BOB} {finding}"]


def test_a_roster_that_differs_at_the_end_is_found(roster: Roster) -> None:
    """A role, a device, a user, the subject."""
    findings: list[str] = []
    users = {"alice": Entry(False, frozenset({"a;1"})), "bob": Entry(False, frozenset({"b;1"}))}
    check_roster(roster, users | {"carol": Entry(False)}, "after", findings)
    assert len(findings) == 4


# --- names


@pytest.mark.parametrize(("to", "later", "is_fault"), [
    (BOB, 0.0, False),
    ("bob@example.org", phone.IN_FLIGHT - 0.1, False),
    ("bob@example.org", phone.IN_FLIGHT + 0.1, True),
    ("carol@example.org", 0.0, True),
])  # fmt: skip
def test_a_message_under_another_name_is_found(
    monkeypatch: pytest.MonkeyPatch, to: str, later: float, *, is_fault: bool
) -> None:
    """Not if it was on its way when the device got its new name: it comes again."""
    times = [20.0, 20.0 + later]
    monkeypatch.setattr(phone, "now", lambda: times.pop(0))
    problems: list[str] = []
    nothing: Any = None
    bob = phone.Phone("bob", f"sip:{BOB}", nothing, nothing, problems, nothing, nothing)
    bob.place(ROOM, "sip:bob@example.org")
    bob.place(ROOM, f"sip:{BOB}")
    statuses: list[int] = []
    headers = [
        ("From", f"<sip:{ROOM}>;tag=1"),
        ("To", f"<sip:{to}>"),
        ("Call-ID", "1"),
        ("CSeq", "1 MESSAGE"),
    ]
    bob.receive(Message.parse(message(f"MESSAGE sip:{to} SIP/2.0", headers)), statuses.append)
    assert bool(problems) == is_fault
    assert statuses == [200 if to == BOB else 488]
