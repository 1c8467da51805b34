"""A history of one room, told step by step, for tests of the checker."""

from __future__ import annotations

from tests.chaos.history import History, Verdict
from tests.chaos.log import Kind, Received, Sent

ROOM = "room@example.org"
OBSERVER = "observer"


class Scene:
    """Builds a history step by step: who joins, who sends, who receives."""

    def __init__(self) -> None:
        self.history = History()
        self.clock = 0.0

    def told(self, user: str, kind: Kind, what: str, identity: str | None = None) -> None:
        self.history.received[user].append(self.line(user, kind, what, identity))

    def line(self, user: str, kind: Kind, what: str, identity: str | None = None) -> Received:
        """A line of this user's log, at the next second."""
        self.clock += 1
        return Received(ROOM, kind, what, identity or f"{user}-{kind.value}-{what}", self.clock)

    def says(self, sender: str, mark: str, *to: str, accepted: bool = True) -> None:
        self.clock += 1
        self.history.sent.append(Sent(ROOM, sender, mark, accepted, self.clock))
        for user in to:
            self.told(user, Kind.MESSAGE, mark)

    def verdict(self) -> Verdict:
        return self.history.check({ROOM: OBSERVER})


def two_members() -> Scene:
    """A room with alice and bob, as its observer saw them come."""
    scene = Scene()
    scene.told(OBSERVER, Kind.JOINED, "alice")
    scene.told(OBSERVER, Kind.JOINED, "bob")
    return scene
