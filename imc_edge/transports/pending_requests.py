"""The requests on one connection that may still wait for a response: when it breaks, their users are told."""

from __future__ import annotations

from collections import deque
from typing import Final

from imc_edge.flow import TransportUser

MAX_PENDING_REQUESTS: Final = 4096
"""Requests per connection whose users are told when it breaks, or those of the last write if they are more;
older ones have their transaction's timer."""


class PendingRequests:
    """Users of requests. Some may have got their response."""

    __slots__ = ("_count", "_seconds", "_users", "_written")

    def __init__(self, seconds: float) -> None:
        """Users are told within so many seconds after the write."""
        self._seconds = seconds
        self._users: list[TransportUser] = []
        """Of requests that are not written yet."""
        self._written: deque[tuple[float, list[TransportUser]]] = deque()
        """By write: until when they are told, and who."""
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._written)

    def add(self, user: TransportUser) -> None:
        """Its request will be in the next write."""
        self._users.append(user)

    def written(self, now: float) -> None:
        """The requests that were added have been written."""
        if self._users:
            self._written.append((now + self._seconds, self._users))
            self._count += len(self._users)
            self._users = []
            while self._count > MAX_PENDING_REQUESTS and len(self._written) > 1:
                self._forget_oldest()

    def expire(self, now: float) -> None:
        """Forget those whose time is over."""
        while self._written and self._written[0][0] <= now:
            self._forget_oldest()

    def fail(self, error: Exception, now: float) -> None:
        """No response can come any more: tell all users, and forget them."""
        self.written(now)
        written, self._written = self._written, deque()
        self._count = 0
        for _, users in written:
            for user in users:
                user.transport_error(error)

    def _forget_oldest(self) -> None:
        self._count -= len(self._written.popleft()[1])
