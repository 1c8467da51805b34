"""The checker excuses what a catch-up left out, if the users were told exactly how much."""

from __future__ import annotations

import pytest

from tests.chaos.log import Kind
from tests.chaos.scene import OBSERVER, ROOM, Scene, two_members


@pytest.fixture
def scene() -> Scene:
    return two_members()


@pytest.mark.parametrize(
    ("told", "lost", "skipped", "overtold"),
    [("2", [], 2, 0), ("1", ["a1"], 1, 0), ("3", [], 2, 1)],
)
def test_the_number_of_what_a_catch_up_leaves_out_is_told(
    scene: Scene, told: str, lost: list[str], skipped: int, overtold: int
) -> None:
    """bob was away for long: so many messages before the next one that it got, and no others.

    Three are right, too: if the response to a0 was lost, nobody knows that bob got it.
    """
    scene.says("alice", "a0", OBSERVER, "bob")
    for mark in ("a1", "a2"):
        scene.says("alice", mark, OBSERVER)
    scene.told("bob", Kind.SKIPPED, "1", "when it was back for a moment")
    scene.told("bob", Kind.SKIPPED, told)
    scene.says("alice", "a3", OBSERVER, "bob")
    verdict = scene.verdict()
    assert verdict.lost == [f"{ROOM}: bob never got {mark}" for mark in lost]
    assert (verdict.skipped, verdict.overtold) == (skipped, overtold)


def test_without_a_later_message_nothing_is_left_out(scene: Scene) -> None:
    """A notice alone excuses nothing; nor does one with a number that the observer has."""
    scene.says("alice", "a1", OBSERVER)
    scene.told("bob", Kind.SKIPPED, "1")
    scene.told(OBSERVER, Kind.SKIPPED, "1")
    verdict = scene.verdict()
    assert verdict.lost == [f"{ROOM}: bob never got a1"]
    assert (verdict.skipped, verdict.unjudged) == (0, 0)


def test_a_later_number_has_those_of_earlier_absences(scene: Scene) -> None:
    """bob is away twice. When it leaves and comes again, the number begins again."""
    scene.says("alice", "a1", OBSERVER)
    scene.told("bob", Kind.SKIPPED, "1")
    scene.says("alice", "a2", OBSERVER, "bob")
    scene.says("alice", "a3", OBSERVER)
    scene.told("bob", Kind.SKIPPED, "2", "both")
    scene.says("alice", "a4", OBSERVER, "bob")
    scene.told(OBSERVER, Kind.LEFT, "bob")
    for user in (OBSERVER, "bob"):
        scene.told(user, Kind.JOINED, "bob", f"{user} sees bob join again")
    scene.says("alice", "a5", OBSERVER)
    scene.told("bob", Kind.SKIPPED, "1", "of the second stay")
    scene.says("alice", "a6", OBSERVER, "bob")
    verdict = scene.verdict()
    assert verdict.ok, verdict.lost
    assert verdict.skipped == 3


def absence(scene: Scene, *, told: str, others: tuple[str, ...] = ()) -> None:
    """Observer and bob are away while alice and carol say two messages each, and are told a number."""
    scene.told(OBSERVER, Kind.JOINED, "carol")
    scene.says("alice", "a0", OBSERVER, "bob", "carol")
    for number in ("1", "2"):
        for sender in ("alice", "carol"):
            scene.says(sender, sender[0] + number, *(user for user in others if user != sender))
    scene.told(OBSERVER, Kind.SKIPPED, told)
    scene.told("bob", Kind.SKIPPED, "4")
    for sender in ("alice", "carol"):
        scene.says(sender, sender[0] + "3", OBSERVER, "bob", *{"alice", "carol"} - {sender})


def test_what_the_observer_has_missed_is_known_from_others(scene: Scene) -> None:
    """alice and carol were there and got each other's messages: their logs say what bob has missed."""
    absence(scene, told="4", others=("alice", "carol"))
    verdict = scene.verdict()
    assert verdict.ok, verdict.lost + verdict.misdirected
    assert verdict.skipped == 4 + 4


def test_what_nobody_got_is_known_by_its_number(scene: Scene) -> None:
    """All were away for too long. alice and carol are told of each other's messages only."""
    absence(scene, told="4")
    scene.history.received["alice"].insert(0, scene.line("alice", Kind.SKIPPED, "2"))
    scene.history.received["carol"].insert(1, scene.line("carol", Kind.SKIPPED, "2"))
    verdict = scene.verdict()
    assert verdict.ok, verdict.lost + verdict.misdirected
    assert verdict.skipped == 4 + 4 + 2 + 2


@pytest.mark.parametrize("told", ["2", "3"])
def test_an_observer_that_is_told_too_few_excuses_nothing(scene: Scene, told: str) -> None:
    """Four messages are missing."""
    absence(scene, told=told, others=("alice", "carol"))
    never = {f"{ROOM}: {mark} was accepted and never had its turn" for mark in ("a1", "c1", "a2", "c2")}
    assert never <= set(scene.verdict().lost)


def test_what_nobody_got_and_no_number_has_is_lost(scene: Scene) -> None:
    """The observer is told of three messages, and four were accepted."""
    absence(scene, told="3")
    assert f"{ROOM}: c2 was accepted and never had its turn" in scene.verdict().lost


def test_members_must_agree_on_what_the_observer_has_missed(scene: Scene) -> None:
    """bob got them in another order than dave: one of them is wrong."""
    for sender in ("bob", "dave"):
        scene.told(OBSERVER, Kind.JOINED, sender)
    scene.says("alice", "a0", OBSERVER, "bob", "dave")
    for mark in ("a1", "a2"):
        scene.says("alice", mark, "bob")
    scene.told("dave", Kind.MESSAGE, "a2")
    scene.told("dave", Kind.MESSAGE, "a1")
    scene.told(OBSERVER, Kind.SKIPPED, "2")
    scene.says("alice", "a3", OBSERVER, "bob", "dave")
    assert not scene.verdict().ok
