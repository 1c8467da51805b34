"""What is pending on a reply of Redis, one class for each thing that can be asked there about a request.

Each goes into the group commit with a command and gets `on_reply` with the reply. All of them end with the
`PendingResponse` (`responses`) that they hold.
"""

from __future__ import annotations

from typing import Any, Final

from imc_common.sip.errors import SipError
from imc_edge.health import Health
from imc_edge.receiving.budgets import Budgets, Charge, Excess
from imc_edge.receiving.responses import DUPLICATE, PendingResponse

UNKNOWN: Final = b"unknown"
"""Redis's reply for a request that was not accepted before."""


class AwaitingCharge:
    """A message whose sender is charged for its deliveries when Redis says how many recipients it has, or a
    `#history` whose sender is charged when Redis has accepted it."""

    __slots__ = ("_budgets", "_charge", "_response")

    def __init__(self, response: PendingResponse, budgets: Budgets, charge: Charge) -> None:
        self._response = response
        self._budgets = budgets
        self._charge = charge

    def on_reply(self, reply: Any) -> None:
        """The reply of the script that accepts."""
        self._response.on_reply(reply)
        self._budgets.settle(self._charge, reply)


class OverLimit:
    """A request over a limit. A duplicate of an accepted one gets the same response as its first copy."""

    __slots__ = ("_excess", "_response")

    def __init__(self, response: PendingResponse, excess: Excess) -> None:
        self._response = response
        self._excess = excess

    def on_reply(self, reply: Any) -> None:
        """Whether it is a duplicate. An error refuses it, too: it is over the limit whatever Redis knows."""
        if reply == DUPLICATE:
            self._response.send(202)
        else:
            self._response.send(self._excess.status, [("Retry-After", str(self._excess.seconds))])


class DuplicateOnly:
    """A request that came too late to be accepted. A duplicate gets the response of its first copy."""

    __slots__ = ("_health", "_otherwise", "_response")

    def __init__(self, response: PendingResponse, health: Health, otherwise: SipError) -> None:
        """``otherwise``: the response if it is no duplicate."""
        self._response = response
        self._health = health
        self._otherwise = otherwise

    def on_reply(self, reply: Any) -> None:
        """Whether it is a duplicate. While the edge drains, all others have to go to another edge."""
        if reply == DUPLICATE:
            self._response.send(202)
        elif reply == UNKNOWN and not self._health.draining:
            self._response.send(self._otherwise.status, self._otherwise.headers)
        else:
            self._response.unavailable()


class CancelSearch:
    """A CANCEL (RFC 3261 §9.2): 200 if a shard knows the request to cancel, 481 if none does.

    The request may be in any shard: a command can name another room than To.
    """

    __slots__ = ("_has_failed", "_is_found", "_left", "_response")

    def __init__(self, response: PendingResponse, shards: int) -> None:
        self._response = response
        self._left = shards
        self._is_found = False
        self._has_failed = False

    def on_reply(self, reply: Any) -> None:
        """One shard's word; the last one sends the response."""
        self._left -= 1
        self._is_found = self._is_found or reply == DUPLICATE
        self._has_failed = self._has_failed or isinstance(reply, Exception)
        if self._left:
            return
        if self._has_failed and not self._is_found:
            self._response.unavailable()
        else:
            self._response.send(200 if self._is_found else 481)
