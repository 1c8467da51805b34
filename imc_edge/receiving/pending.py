"""What an edge waits for Redis with: each goes in with a command, and comes back with its reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from imc_common.rooms.request import RoomRequest
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request
from imc_common.store import Command
from imc_edge.receiving.budgets import Charge, Excess, Report
from imc_edge.receiving.excess_notices import Telling
from imc_edge.receiving.response import Answer


class Ticket(NamedTuple):
    """What is needed to answer a request once Redis has spoken."""

    answer: Answer
    since: float
    traced: Request | None
    """The request itself is kept only for somebody who follows it."""


class Counted(NamedTuple):
    """A message whose deliveries come off its sender's budget."""

    ticket: Ticket
    charge: Charge


class Asked(NamedTuple):
    """An invitation that may be taken with this command once Redis has said so."""

    ticket: Ticket
    entry: RoomRequest
    seen: str
    accept: Command


class Exceeding(NamedTuple):
    """A request over a limit. It is refused, unless it was taken before: then it keeps its answer."""

    ticket: Ticket
    excess: Excess


class Repeated(NamedTuple):
    """A request that is taken only if it was before; ``error`` is its answer if not."""

    ticket: Ticket
    error: SipError


@dataclass(slots=True)
class Search:
    """A CANCEL that waits for every shard's word on the request it is about."""

    ticket: Ticket
    left: int
    found: bool = False
    failed: bool = False


Pending = Ticket | Counted | Asked | Exceeding | Repeated | Report | Search | Telling
"""All of them."""
