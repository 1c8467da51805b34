"""Which shards this process works on: leases in Redis, shared out evenly among live processes.

Every `lease_ttl / 3` a process beats, learns who lives, prolongs its leases and works out its share. Too few:
it takes free shards. Too many: it stops taking new entries of the surplus, and gives each one back as soon as
nothing of it is in hand. What Redis says of time is used by Redis only; whether a lease still holds is judged
by the process's own monotonic clock, from before the request that prolonged it went out.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Iterable
from typing import Any, Literal

import structlog

from imc_common import keys
from imc_common.store import Command, ReplyError, StoreUnreachable
from imc_common.store.protocols import DurableScriptRunner

log = structlog.get_logger()

BEATS_PER_LEASE = 3
HASTE_SECONDS = 0.05  # pause while shards are to be given back
SEARCH_SECONDS = 0.25  # pause while shards are missing

Role = Literal["edge", "worker"]


def process_id() -> str:
    """A name for this process that no other has: for leases and for people who look at them."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


class Ownership:
    """The shards of one process.

    `can_release` is asked before a surplus shard is given back: is nothing of it in hand? `being_read` and
    `on_taken` belong to the consumer that reads these shards.
    """

    def __init__(  # noqa: PLR0917 # a lease needs all of it, and nothing more
        self,
        store: DurableScriptRunner,
        role: Role,
        process_id: str,
        shards: int,
        lease_ttl: float,
        clock: Callable[[], float],
    ) -> None:
        self.can_release: Callable[[int], bool] = lambda shard: True
        self.being_read: Callable[[int], bool] = lambda shard: False
        self.on_taken: Callable[[int], None] = lambda shard: None
        self.process_id = process_id
        self._store = store
        self._role = role
        self._processes = keys.WORKERS if role == "worker" else keys.EDGES
        self._shards = shards
        self._lease_ttl = lease_ttl
        self._ttl_ms = int(lease_ttl * 1000)
        self._clock = clock
        self._held: dict[int, float] = {}  # shard -> when its lease ends
        self._leaving: set[int] = set()
        self._owned: frozenset[int] = frozenset()
        self._taking: frozenset[int] = frozenset()
        self._fresh_until = 0.0
        self._next_beat = 0.0
        self._share = 0
        self._first_choice = 0
        self._reached = True

    def owned(self) -> frozenset[int]:
        """The shards whose lease holds now."""
        if self._clock() >= self._fresh_until:
            self._refresh()
        return self._owned

    def taking(self) -> frozenset[int]:
        """The owned shards of which new entries may be read: all but those about to be given back."""
        if self._clock() >= self._fresh_until:
            self._refresh()
        return self._taking

    def lease(self, shard: int) -> str:
        """The key of the shard's lease."""
        return keys.lease(shard, self._role)

    @property
    def reached(self) -> bool:
        """Whether Redis was there for the last round."""
        return self._reached

    async def run(self) -> None:
        """Beat, prolong, take and give back until cancelled."""
        while True:
            try:
                await self.step()
                if not self._reached:
                    log.info("leases can be prolonged again", role=self._role)
                self._reached = True
            except StoreUnreachable as error:
                if self._reached:
                    log.warning("leases cannot be prolonged", role=self._role, reason=str(error))
                self._reached = False
            await asyncio.sleep(self._pause())

    async def step(self) -> None:
        """One round: a beat if it is time, then towards the share. Raises StoreUnreachable."""
        if self._clock() >= self._next_beat:
            await self._beat()
        await self._give_back()
        if len(self._held) < self._share:
            await self._take()

    async def hold_durably(self, shards: Iterable[int]) -> frozenset[int]:
        """Prolong these leases, and wait until that is as safe as the setting `durability` asks for.

        Then so is all that was written in these shards before. Gives those of which this is true.
        Raises StoreUnreachable.
        """
        held = sorted(self.owned().intersection(shards))
        started = self._clock()
        commands = [self._lease_command("take_lease", shard) for shard in held]
        replies = dict(zip(held, await self._store.run(commands, durable=True), strict=True))
        still = [shard for shard in held if shard in self._held]  # not given back meanwhile
        self._note(still, [replies[shard] for shard in still], started)
        return frozenset(shard for shard in still if replies[shard] == 1)

    async def release_all(self) -> None:
        """Give back every lease and leave the list of the living. Raises StoreUnreachable."""
        held = sorted(self._held)
        self._held.clear()
        self._share = 0
        self._refresh()
        commands = [self._lease_command("release_lease", shard) for shard in held]
        await self._store.run([*commands, ("ZREM", self._processes, self.process_id)])

    async def _beat(self) -> None:
        self._refresh()
        started = self._clock()
        held = sorted(self._held)
        beat = self._store.script("record_heartbeat", [self._processes], [self.process_id, self._ttl_ms])
        commands = [self._lease_command("take_lease", shard) for shard in held]
        living, *kept = await self._store.run([beat, *commands])
        self._note(held, kept, started)
        if isinstance(living, ReplyError):
            raise StoreUnreachable(f"heartbeat: {living}")
        self._next_beat = started + self._lease_ttl / BEATS_PER_LEASE
        self._work_out_share([process.decode() for process in living])

    def _work_out_share(self, living: list[str]) -> None:
        """The share of this process: shards over the living, the remainder to the first of them."""
        rank = living.index(self.process_id)
        each, over = divmod(self._shards, len(living))
        self._share = each + (rank < over)
        self._first_choice = rank * each + min(rank, over)
        surplus = len(self._held) - self._share
        if surplus <= 0:
            self._leaving.clear()
        elif surplus != len(self._leaving):
            # those leaving already first, then the ones furthest from the process's first choice
            order = sorted(self._held, key=lambda shard: (shard not in self._leaving, -self._distance(shard)))
            self._leaving = set(order[:surplus])
        self._refresh()

    async def _give_back(self) -> None:
        idle = [s for s in self._leaving if not self.being_read(s) and self.can_release(s)]
        if not idle:
            return
        for shard in idle:
            self._held.pop(shard, None)
        self._leaving.difference_update(idle)
        self._refresh()
        await self._store.run([self._lease_command("release_lease", shard) for shard in idle])
        log.info("shards given back", role=self._role, shards=sorted(idle), owned=len(self._held))

    async def _take(self) -> None:
        others = sorted((s for s in range(self._shards) if s not in self._held), key=self._distance)
        asked: list[Command] = [(word, self.lease(shard)) for shard in others for word in ("GET", "PTTL")]
        replies = await self._store.run(asked)
        mine = self.process_id.encode()
        free, endless = [], []
        for shard, holder, ttl_ms in zip(others, replies[::2], replies[1::2], strict=True):
            if holder is None or holder == mine:
                free.append(shard)
            elif isinstance(ttl_ms, int) and ttl_ms > self._ttl_ms:
                endless.append(shard)  # taken before Redis's clock was put back: `take_lease.lua` cuts it
        wanted = [*free[: self._share - len(self._held)], *endless]
        if not wanted:
            return
        started = self._clock()
        replies = await self._store.run([self._lease_command("take_lease", shard) for shard in wanted])
        self._note(wanted, replies, started)
        taken = [shard for shard in wanted if shard in self._held]
        if not taken:
            return
        log.info("shards taken", role=self._role, shards=sorted(taken), owned=len(self._held))

    def _note(self, shards: Iterable[int], replies: Iterable[Any], started: float) -> None:
        """Keep what take_lease said of each shard; on an error the lease holds as long as it did before."""
        lost = []
        for shard, reply in zip(shards, replies, strict=True):
            if isinstance(reply, ReplyError):
                continue
            if reply == 1:
                if shard not in self._held:
                    self.on_taken(shard)
                self._held[shard] = started + self._lease_ttl
            elif self._held.pop(shard, None) is not None:
                lost.append(shard)
        self._refresh()
        if lost:
            log.warning("leases lost to another process", role=self._role, shards=lost)

    def _refresh(self) -> None:
        now = self._clock()
        self._held = {shard: until for shard, until in self._held.items() if until > now}
        self._leaving &= self._held.keys()
        self._owned = frozenset(self._held)
        self._taking = self._owned - self._leaving
        self._fresh_until = min(self._held.values(), default=float("inf"))

    def _pause(self) -> float:
        if self._leaving:
            return HASTE_SECONDS
        until_beat = max(0.0, self._next_beat - self._clock())
        if not self._reached or len(self._held) < self._share:
            return min(max(until_beat, HASTE_SECONDS), SEARCH_SECONDS)
        return until_beat

    def _distance(self, shard: int) -> int:
        """How late this process chooses a shard: each starts elsewhere, so that they seldom want the same."""
        return (shard - self._first_choice) % self._shards

    def _lease_command(self, script: str, shard: int) -> Command:
        key = self.lease(shard)
        args: list[str | bytes | int] = [self.process_id]
        if script == "take_lease":
            args.append(self._ttl_ms)
        return self._store.script(script, [key], args)
