"""Which shards this process works on: leases in Redis, shared evenly among live processes.

Every `lease_ttl / 3` a process sends a heartbeat, learns which processes are alive, renews its leases and
computes its share of the shards.

- With too few shards it takes free ones.
- With too many it stops reading new entries of the surplus, and releases each surplus shard as soon as none
  of its entries is pending.

Clocks: Redis ends a lease by its own clock. The process decides by its own monotonic clock whether it still
holds one, and counts from before the command was sent. So the process stops before Redis lets another one in.
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

HEARTBEATS_PER_LEASE = 3
RELEASE_SECONDS = 0.05
"""Pause between two rounds while surplus shards wait for their release."""
SEARCH_SECONDS = 0.25
"""Pause between two rounds while shards are missing."""

Role = Literal["edge", "worker"]


def process_id() -> str:
    """A unique name for this process, for leases and for operators who read them."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


class Ownership:
    """The shards of one process.

    `can_release` tells whether no entry of a surplus shard is pending. `being_read` and `on_acquired` are set
    by the consumer that reads these shards.
    """

    def __init__(  # noqa: PLR0917 # the process, what it shares, and its clock
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
        self.on_acquired: Callable[[int], None] = lambda shard: None
        self.process_id = process_id
        self._store = store
        self._role = role
        self._processes = keys.WORKERS if role == "worker" else keys.EDGES
        self._shards = shards
        self._lease_ttl = lease_ttl
        self._ttl_ms = int(lease_ttl * 1000)
        self._clock = clock
        self._held: dict[int, float] = {}  # shard -> end of its lease, by our clock
        self._leaving: set[int] = set()
        self._owned: frozenset[int] = frozenset()
        self._readable: frozenset[int] = frozenset()
        self._fresh_until = 0.0
        self._next_heartbeat = 0.0
        self._share = 0
        self._first_choice = 0
        self._reached = True

    def owned(self) -> frozenset[int]:
        """The shards whose lease holds now."""
        if self._clock() >= self._fresh_until:
            self._refresh()
        return self._owned

    def readable(self) -> frozenset[int]:
        """The owned shards whose entries may be read: all but those that are to be released."""
        if self._clock() >= self._fresh_until:
            self._refresh()
        return self._readable

    def lease(self, shard: int) -> str:
        """The key of the shard's lease."""
        return keys.lease(shard, self._role)

    @property
    def reached(self) -> bool:
        """Whether Redis was reachable in the last round."""
        return self._reached

    async def run(self) -> None:
        """Send heartbeats, renew, take and release leases until cancelled."""
        while True:
            try:
                await self.step()
                if not self._reached:
                    log.info("leases can be renewed again", role=self._role)
                self._reached = True
            except StoreUnreachable as error:
                if self._reached:
                    log.warning("leases cannot be renewed", role=self._role, reason=str(error))
                self._reached = False
            await asyncio.sleep(self._pause())

    async def step(self) -> None:
        """One round: a heartbeat if it is due, then release or take shards. Raises StoreUnreachable."""
        # First the heartbeat, because it renews the leases and tells the share. A surplus is released before
        # anything is taken, because other processes wait for it.
        if self._clock() >= self._next_heartbeat:
            await self._send_heartbeat()
        await self._release_surplus()
        if len(self._held) < self._share:
            await self._take()

    async def hold_durably(self, shards: Iterable[int]) -> frozenset[int]:
        """Renew these leases, and wait until that write is as safe as the setting `durability` requires.

        Then everything that was written in these shards before is as safe. Gives the shards of which this is
        true. Raises StoreUnreachable.
        """
        held = sorted(self.owned().intersection(shards))
        started = self._clock()
        commands = [self._lease_command("acquire_lease", shard) for shard in held]
        replies = dict(zip(held, await self._store.run(commands, durable=True), strict=True))
        # A shard that was released during the wait may have another owner by now, whose writes are not ours.
        still = [shard for shard in held if shard in self._held]
        self._note(still, [replies[shard] for shard in still], started)
        return frozenset(shard for shard in still if replies[shard] == 1)

    async def release_all(self) -> None:
        """Release every lease and leave the list of live processes. Raises StoreUnreachable."""
        # Before the command, as in `_release_surplus`. Without the last ZREM the others would count this
        # process, and leave its share of the shards free, until its heartbeat expires.
        held = sorted(self._held)
        self._held.clear()
        self._share = 0
        self._refresh()
        commands = [self._lease_command("release_lease", shard) for shard in held]
        await self._store.run([*commands, ("ZREM", self._processes, self.process_id)])

    async def _send_heartbeat(self) -> None:
        # The time is noted before the command is sent. Redis starts the lease when the command arrives, so by
        # our clock the lease ends earlier than in Redis, never later.
        self._refresh()
        started = self._clock()
        held = sorted(self._held)
        heartbeat = self._store.script("record_heartbeat", [self._processes], [self.process_id, self._ttl_ms])
        commands = [self._lease_command("acquire_lease", shard) for shard in held]
        live, *renewed = await self._store.run([heartbeat, *commands])
        self._note(held, renewed, started)
        if isinstance(live, ReplyError):
            raise StoreUnreachable(f"heartbeat: {live}")
        self._next_heartbeat = started + self._lease_ttl / HEARTBEATS_PER_LEASE
        self._compute_share([process.decode() for process in live])

    def _compute_share(self, live: list[str]) -> None:
        """Shards divided by live processes; the first ones get one more if there is a remainder."""
        # All processes see the same sorted list, so their shares add up. Each begins its choice at another
        # shard: where its part would be if the shards were dealt out in order.
        rank = live.index(self.process_id)
        each, over = divmod(self._shards, len(live))
        self._share = each + (rank < over)
        self._first_choice = rank * each + min(rank, over)
        # Too many shards: another process has started. None is dropped now, because its entries are pending
        # here; it is only no longer read.
        surplus = len(self._held) - self._share
        if surplus <= 0:
            self._leaving.clear()
        elif surplus != len(self._leaving):
            # First those that are to be released already, so that no choice is revoked; then the ones
            # furthest from the first choice, which other processes look for first.
            order = sorted(self._held, key=lambda shard: (shard not in self._leaving, -self._distance(shard)))
            self._leaving = set(order[:surplus])
        self._refresh()

    async def _release_surplus(self) -> None:
        # A read in flight may still bring entries of the shard: it is released when neither a read nor a
        # pending entry is left, so that two processes never work on one shard at the same time.
        idle = [s for s in self._leaving if not self.being_read(s) and self.can_release(s)]
        if not idle:
            return
        # Before the command: whatever becomes of it, this process does not use the shard any more.
        for shard in idle:
            self._held.pop(shard, None)
        self._leaving.difference_update(idle)
        self._refresh()
        await self._store.run([self._lease_command("release_lease", shard) for shard in idle])
        log.info("shards released", role=self._role, shards=sorted(idle), owned=len(self._held))

    async def _take(self) -> None:
        # Look first, in one round trip, then take: most of the other shards have owners.
        others = sorted((s for s in range(self._shards) if s not in self._held), key=self._distance)
        asked: list[Command] = [(word, self.lease(shard)) for shard in others for word in ("GET", "PTTL")]
        replies = await self._store.run(asked)
        mine = self.process_id.encode()
        free, endless = [], []
        for shard, holder, ttl_ms in zip(others, replies[::2], replies[1::2], strict=True):
            # Ours without our knowledge: the reply to a take was lost, but the script ran.
            if holder is None or holder == mine:
                free.append(shard)
            elif isinstance(ttl_ms, int) and ttl_ms > self._ttl_ms:
                # From before Redis's clock was set back; the holder may be dead. `acquire_lease.lua` shortens
                # it.
                endless.append(shard)
        wanted = [*free[: self._share - len(self._held)], *endless]
        if not wanted:
            return
        started = self._clock()
        replies = await self._store.run([self._lease_command("acquire_lease", shard) for shard in wanted])
        self._note(wanted, replies, started)
        acquired = [shard for shard in wanted if shard in self._held]
        if not acquired:
            return
        log.info("shards acquired", role=self._role, shards=sorted(acquired), owned=len(self._held))

    def _note(self, shards: Iterable[int], replies: Iterable[Any], started: float) -> None:
        """Note the replies of acquire_lease, which was sent at `started`."""
        lost = []
        for shard, reply in zip(shards, replies, strict=True):
            if isinstance(reply, ReplyError):
                continue  # nothing is known: the lease ends when it would have ended before
            if reply == 1:
                # A lease that had ended for us is new, even if Redis still had it: another process may have
                # read the stream between. So the consumer starts over.
                if shard not in self._held:
                    self.on_acquired(shard)
                self._held[shard] = started + self._lease_ttl
            # Any other reply: the lease has another holder, because it ended before it was renewed.
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
        self._readable = self._owned - self._leaving
        self._fresh_until = min(self._held.values(), default=float("inf"))

    def _pause(self) -> float:
        # Another process waits for the surplus shards, and until then their new entries wait too.
        if self._leaving:
            return RELEASE_SECONDS
        until_heartbeat = max(0.0, self._next_heartbeat - self._clock())
        # Missing shards may become free at any time: their owner releases them, or its leases end.
        if not self._reached or len(self._held) < self._share:
            return min(max(until_heartbeat, RELEASE_SECONDS), SEARCH_SECONDS)
        return until_heartbeat

    def _distance(self, shard: int) -> int:
        """The place of a shard in this process's order of choice: so processes seldom want the same one."""
        return (shard - self._first_choice) % self._shards

    def _lease_command(self, script: str, shard: int) -> Command:
        key = self.lease(shard)
        args: list[str | bytes | int] = [self.process_id]
        if script == "acquire_lease":
            args.append(self._ttl_ms)
        return self._store.script(script, [key], args)
