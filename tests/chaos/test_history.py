"""The checker finds each kind of fault in a history that contains it."""

from __future__ import annotations

import pytest

from tests.chaos.history import Verdict
from tests.chaos.log import Kind, Sent
from tests.chaos.scene import OBSERVER, ROOM, Scene, two_members


@pytest.fixture
def scene() -> Scene:
    return two_members()


def test_a_correct_history_is_ok(scene: Scene) -> None:
    """Two members talk; one leaves and need not receive later messages."""
    scene.says("alice", "a1", OBSERVER, "bob")
    scene.says("bob", "b1", OBSERVER, "alice")
    scene.told(OBSERVER, Kind.LEFT, "bob")
    scene.says("alice", "a2", OBSERVER)
    verdict = scene.verdict()
    assert verdict.ok
    assert (verdict.messages, verdict.deliveries) == (3, 5)


def test_a_message_that_a_member_did_not_receive_is_lost(scene: Scene) -> None:
    """bob was a member when a1 was sent to the room."""
    scene.says("alice", "a1", OBSERVER)
    assert scene.verdict().lost == [f"{ROOM}: bob never got a1"]


def test_what_a_member_had_missed_when_it_left_is_not_due_any_more(scene: Scene) -> None:
    """bob was away and left: only what it missed last. A message before one that it got is lost."""
    scene.says("alice", "a1", OBSERVER)
    scene.says("alice", "a2", OBSERVER, "bob")
    scene.says("alice", "a3", OBSERVER)
    scene.says("alice", "a4", OBSERVER)
    scene.told(OBSERVER, Kind.LEFT, "bob")
    verdict = scene.verdict()
    assert verdict.lost == [f"{ROOM}: bob never got a1"]
    assert verdict.forgone == 2


def test_what_an_earlier_stay_got_is_not_taken_back(scene: Scene) -> None:
    """bob leaves twice, and gets nothing in the second stay: a1 stays due."""
    scene.says("alice", "a1", OBSERVER)
    scene.says("alice", "a2", OBSERVER, "bob")
    for kind in (Kind.LEFT, Kind.JOINED):
        scene.told(OBSERVER, kind, "bob", f"again {kind.value}")
    scene.says("alice", "a3", OBSERVER)
    scene.told(OBSERVER, Kind.LEFT, "bob", "left again")
    verdict = scene.verdict()
    assert verdict.lost == [f"{ROOM}: bob never got a1"]
    assert verdict.forgone == 1


def test_an_accepted_message_that_nobody_received_is_lost(scene: Scene) -> None:
    """The sender got a 202."""
    scene.says("alice", "a1")
    assert scene.verdict().lost == [f"{ROOM}: a1 was accepted and never had its turn"]


def test_a_message_without_a_2xx_may_be_missing(scene: Scene) -> None:
    """A 503 or no response promises nothing."""
    scene.says("alice", "a1", accepted=False)
    assert scene.verdict().ok


def test_a_second_copy_under_another_identity_is_doubled(scene: Scene) -> None:
    """The recipient cannot recognise it as the same message."""
    scene.says("alice", "a1", OBSERVER, "bob")
    scene.told("bob", Kind.MESSAGE, "a1", "another-identity")
    assert scene.verdict().doubled == [f"{ROOM}: bob got a1 twice"]


def test_a_repeated_delivery_with_the_same_identity_is_only_counted(scene: Scene) -> None:
    """It may happen after a crash, and the recipient can recognise it."""
    scene.says("alice", "a1", OBSERVER, "bob")
    scene.told("bob", Kind.MESSAGE, "a1")
    verdict = scene.verdict()
    assert verdict.ok
    assert verdict.duplicates == 1


def test_a_message_to_someone_who_left_is_misdirected(scene: Scene) -> None:
    """bob left before a1."""
    scene.told(OBSERVER, Kind.LEFT, "bob")
    scene.says("alice", "a1", OBSERVER, "bob")
    assert scene.verdict().misdirected == [f"{ROOM}: bob got a1 and was not a member"]


def test_who_left_unseen_by_the_observer_is_not_judged(scene: Scene) -> None:
    """bob left and came again while the observer was away: a1 was not due to bob. Others are judged."""
    for kind in (Kind.LEFT, Kind.JOINED):
        for number in range(2):
            scene.told("alice", kind, "bob", f"alice-{kind.value}-{number}")
    scene.says("carol", "c1", OBSERVER)
    verdict = scene.verdict()
    assert verdict.lost == [f"{ROOM}: alice never got c1"]
    assert verdict.unjudged == 1


def test_who_joined_more_often_than_the_observer_knows_is_not_judged(scene: Scene) -> None:
    """All others were away when bob left and came again. Bob hears of its joins only."""
    scene.told(OBSERVER, Kind.LEFT, "bob")
    scene.told(OBSERVER, Kind.JOINED, "bob", "joined again")
    scene.says("alice", "a1", OBSERVER)
    for number in range(3):
        scene.told("bob", Kind.JOINED, "bob", f"joined {number}")
    verdict = scene.verdict()
    assert verdict.ok
    assert verdict.unjudged == 1


def test_messages_in_another_order_than_the_rooms_are_reordered(scene: Scene) -> None:
    """bob's order differs from the room's."""
    scene.says("alice", "a1", OBSERVER)
    scene.says("alice", "a2", OBSERVER, "bob")
    scene.told("bob", Kind.MESSAGE, "a1")
    assert scene.verdict().reordered == [f"{ROOM}: bob got a2 where a1 was due"]


def test_messages_of_one_sender_in_another_order_are_reordered(scene: Scene) -> None:
    """alice got the 202 to a1 before she sent a2."""
    scene.history.sent += [Sent(ROOM, "alice", "a1", True, 1), Sent(ROOM, "alice", "a2", True, 2)]
    for mark in ("a2", "a1"):
        scene.told(OBSERVER, Kind.MESSAGE, mark)
        scene.told("bob", Kind.MESSAGE, mark)
    assert scene.verdict().reordered == [f"{ROOM}: a2 came before a1 of the same sender"]


def test_a_message_without_a_2xx_may_arrive_late(scene: Scene) -> None:
    """alice got no response to a1 and then sent a2, so their order is undefined."""
    scene.history.sent += [Sent(ROOM, "alice", "a1", False, 1), Sent(ROOM, "alice", "a2", True, 2)]
    for mark in ("a2", "a1"):
        scene.told(OBSERVER, Kind.MESSAGE, mark)
        scene.told("bob", Kind.MESSAGE, mark)
    assert scene.verdict().reordered == []


def gets(scene: Scene, *marks: str) -> Verdict:
    for mark in marks:
        scene.told("bob", Kind.MESSAGE, mark)
    return scene.verdict()


def comes_back(scene: Scene, *marks: str) -> Verdict:
    """bob is away while alice sends a1, a2 and a3; then he gets these marks."""
    for mark in ("a1", "a2", "a3"):
        scene.says("alice", mark, OBSERVER)
    scene.clock += 60
    return gets(scene, *marks)


def test_messages_that_come_late_in_their_order_are_right(scene: Scene) -> None:
    """bob was away for a minute and catches up."""
    verdict = comes_back(scene, "a1", "a2", "a3")
    assert verdict.ok
    assert (verdict.late, verdict.duplicates) == (3, 0)


def test_a_message_missing_from_what_comes_late_is_lost(scene: Scene) -> None:
    """The catch-up has a gap."""
    assert comes_back(scene, "a1", "a3").lost == [f"{ROOM}: bob never got a2"]


def test_messages_that_come_late_in_another_order_are_reordered(scene: Scene) -> None:
    """The last one overtook what was missed."""
    verdict = comes_back(scene, "a3", "a1", "a2")
    assert verdict.reordered == [f"{ROOM}: bob got a3 where a1 was due"]


def test_a_live_message_before_the_missed_ones_is_reordered(scene: Scene) -> None:
    """What follows a gap must not come before the gap is filled."""
    for mark in ("a1", "a2"):
        scene.says("alice", mark, OBSERVER)
    scene.says("alice", "a3", OBSERVER, "bob")
    verdict = gets(scene, "a1", "a2")
    assert verdict.lost == []
    assert verdict.reordered == [f"{ROOM}: bob got a3 where a1 was due"]


def test_the_order_is_judged_although_a_message_is_lost(scene: Scene) -> None:
    """A loss must not hide that the rest came in another order."""
    verdict = comes_back(scene, "a3", "a2")
    assert verdict.lost == [f"{ROOM}: bob never got a1"]
    assert verdict.reordered == [f"{ROOM}: bob got a3 where a2 was due"]


def test_a_late_copy_with_the_same_identity_is_only_counted(scene: Scene) -> None:
    """bob's response to a1 was lost, so the history hands it out once more; what follows is in its place."""
    scene.says("alice", "a1", OBSERVER, "bob")
    scene.says("alice", "a2", OBSERVER)
    verdict = gets(scene, "a1", "a2")
    assert verdict.ok
    assert verdict.duplicates == 1


def test_a_late_copy_under_another_identity_is_doubled(scene: Scene) -> None:
    """Live and from the history, the same message must be recognisable."""
    scene.says("alice", "a1", OBSERVER, "bob")
    scene.told("bob", Kind.MESSAGE, "a1", "identity-of-the-history")
    assert scene.verdict().doubled == [f"{ROOM}: bob got a1 twice"]
