"""A checker that never saw a loss is no checker: each fault is planted once and must be found."""

from __future__ import annotations

import pytest

from tests.chaos.history import History, Kind, Received, Sent, Verdict

ROOM = "room@example.org"
ANCHOR = "anchor"


class Scene:
    """Builds a history line by line: who joins, who speaks, who gets what."""

    def __init__(self) -> None:
        self.history = History()
        self.clock = 0.0

    def told(self, user: str, kind: Kind, what: str, call_id: str | None = None) -> None:
        self.clock += 1
        line = Received(ROOM, kind, what, call_id or f"{user}-{kind.value}-{what}", self.clock)
        self.history.received[user].append(line)

    def says(self, sender: str, mark: str, *to: str, accepted: bool = True) -> None:
        self.history.sent.append(Sent(ROOM, sender, mark, accepted, self.clock))
        for user in to:
            self.told(user, Kind.MESSAGE, mark)

    def verdict(self) -> Verdict:
        return self.history.judge({ROOM: ANCHOR})


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    scene.told(ANCHOR, Kind.JOINED, "alice")
    scene.told(ANCHOR, Kind.JOINED, "bob")
    return scene


def test_a_faultless_history_is_ok(scene: Scene) -> None:
    """Two members talk, one leaves, and what comes later is not due to it."""
    scene.says("alice", "a1", ANCHOR, "bob")
    scene.says("bob", "b1", ANCHOR, "alice")
    scene.told(ANCHOR, Kind.LEFT, "bob")
    scene.says("alice", "a2", ANCHOR)
    verdict = scene.verdict()
    assert verdict.ok
    assert (verdict.messages, verdict.deliveries) == (3, 5)


def test_a_member_that_missed_a_message_is_a_loss(scene: Scene) -> None:
    """bob was a member at a1's turn and never got it."""
    scene.says("alice", "a1", ANCHOR)
    assert scene.verdict().lost == [f"{ROOM}: bob never got a1"]


def test_an_accepted_message_without_a_turn_is_a_loss(scene: Scene) -> None:
    """A 202 whose message nobody ever saw."""
    scene.says("alice", "a1")
    assert scene.verdict().lost == [f"{ROOM}: a1 was accepted and never had its turn"]


def test_a_message_without_a_2xx_may_be_missing(scene: Scene) -> None:
    """503 or silence promises nothing."""
    scene.says("alice", "a1", accepted=False)
    assert scene.verdict().ok


def test_a_second_copy_under_another_call_id_is_doubled(scene: Scene) -> None:
    """The recipient cannot tell that it is the same message."""
    scene.says("alice", "a1", ANCHOR, "bob")
    scene.told("bob", Kind.MESSAGE, "a1", "another-call-id")
    assert scene.verdict().doubled == [f"{ROOM}: bob got a1 twice"]


def test_a_repeat_under_the_same_call_id_is_only_counted(scene: Scene) -> None:
    """After a crash the same delivery may come again, recognisable as such."""
    scene.says("alice", "a1", ANCHOR, "bob")
    scene.told("bob", Kind.MESSAGE, "a1")
    verdict = scene.verdict()
    assert verdict.ok
    assert verdict.repeats == 1


def test_a_message_to_someone_who_left_is_misdirected(scene: Scene) -> None:
    """bob left before a1's turn."""
    scene.told(ANCHOR, Kind.LEFT, "bob")
    scene.says("alice", "a1", ANCHOR, "bob")
    assert scene.verdict().misdirected == [f"{ROOM}: bob got a1 and was not a member"]


def test_a_member_that_sees_another_order_is_reordered(scene: Scene) -> None:
    """bob's order differs from the room's."""
    scene.says("alice", "a1", ANCHOR)
    scene.says("alice", "a2", ANCHOR, "bob")
    scene.told("bob", Kind.MESSAGE, "a1")
    assert scene.verdict().reordered == [f"{ROOM}: bob got a2 where a1 was due"]


def test_a_sender_whose_messages_swap_is_reordered(scene: Scene) -> None:
    """alice waited for the 202 to a1 before she sent a2."""
    scene.history.sent += [Sent(ROOM, "alice", "a1", True, 1), Sent(ROOM, "alice", "a2", True, 2)]
    for mark in ("a2", "a1"):
        scene.told(ANCHOR, Kind.MESSAGE, mark)
        scene.told("bob", Kind.MESSAGE, mark)
    assert scene.verdict().reordered == [f"{ROOM}: a2 came before a1 of the same sender"]


def test_one_that_its_sender_gave_up_may_come_late(scene: Scene) -> None:
    """alice had no answer to a1, and sent a2 all the same: there is no order between them."""
    scene.history.sent += [Sent(ROOM, "alice", "a1", False, 1), Sent(ROOM, "alice", "a2", True, 2)]
    for mark in ("a2", "a1"):
        scene.told(ANCHOR, Kind.MESSAGE, mark)
        scene.told("bob", Kind.MESSAGE, mark)
    assert scene.verdict().reordered == []
