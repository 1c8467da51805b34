"""Where a request may go, and in which order: the result of RFC 3263 for one destination."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from imc_edge.flow import Hop


@dataclass(frozen=True, slots=True)
class SrvTarget:
    """One SRV record with the addresses of its target, or all addresses of a host without SRV."""

    weight: int
    hops: tuple[Hop, ...]


@dataclass(frozen=True, slots=True)
class Targets:
    """Groups by SRV priority, best first, valid until a monotonic time.

    No groups: there were targets, but nothing may be sent to any of them.
    """

    groups: tuple[tuple[SrvTarget, ...], ...]
    until: float = inf
    fixed: Hop | None = None
    """The only hop, if there is only one: no need to draw."""

    @classmethod
    def of(cls, groups: Sequence[Sequence[SrvTarget]], until: float = inf) -> Targets:
        """Targets of these groups."""
        hops = [hop for group in groups for weighted in group for hop in weighted.hops]
        return cls(tuple(map(tuple, groups)), until, hops[0] if len(hops) == 1 else None)

    def only(self, allows: Callable[[Hop], bool]) -> Targets:
        """Those that are allowed."""
        groups = [
            [SrvTarget(each.weight, tuple([hop for hop in each.hops if allows(hop)])) for each in group]
            for group in self.groups
        ]
        left = [[each for each in group if each.hops] for group in groups]
        return Targets.of([group for group in left if group], self.until)

    def draw(self, random: Callable[[], float]) -> list[Hop]:
        """All hops in the order to try them; within a priority drawn by weight (RFC 2782)."""
        order: list[Hop] = []
        for group in self.groups:
            left = sorted(group, key=lambda weighted: weighted.weight)  # those of weight 0 first
            while left:
                point = random() * sum(weighted.weight for weighted in left)
                for index, weighted in enumerate(left):  # noqa: B007 # index and weighted are used below
                    point -= weighted.weight
                    if point <= 0:
                        break
                order += weighted.hops
                del left[index]
        return order


NOWHERE = Targets(())
"""The targets of a URI that nothing may be sent to."""
