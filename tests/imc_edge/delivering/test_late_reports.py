"""What has failed is not forgotten before the workers know of it, however long that takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from imc_common import keys
from imc_common.keys import shard_of
from imc_common.scripts import Command
from imc_common.store import ReplyError, StoreUnreachable
from imc_edge.delivering.absence import KNOWN_SECONDS
from imc_edge.delivering.late_reports import LOOK_SECONDS, LateReports
from tests.imc_edge.delivering.test_away_rules import got, keeping_history, say
from tests.imc_edge.sending import ROOM, Sending

SHARD = shard_of(ROOM, 4)


class InStreams:
    """A store with the requests that wait; `ids` by shard."""

    def __init__(self) -> None:
        self.ids: dict[int, list[str]] = {}
        self.unreachable = False
        self.error: ReplyError | None = None

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """The first or the last of them."""
        if self.unreachable:
            raise StoreUnreachable("unreachable")
        return [self.error or self._reply(*command) for command in commands]

    def _reply(self, name: Any, stream: Any, *_: Any) -> list[Any]:
        (ids,) = [ids for shard, ids in self.ids.items() if keys.requests(shard) == stream] or [[]]
        return [[each.encode(), []] for each in (ids[:1] if name == "XRANGE" else ids[-1:])]


def looking(sending: Sending, store: InStreams) -> LateReports:
    return LateReports(store, sending.owner.owned, lambda: sending.recipients, sending.clock, hash_size=4)


async def fail(sending: Sending) -> None:
    """A message finds nobody, and then the user gives a sign."""
    await say(sending, "m0")
    await sending.reply(sending.wires.sent[0], 480)
    for each in sending.recipients:
        each.came_online()


async def wait(sending: Sending, looks: LateReports, seconds: float = 3 * KNOWN_SECONDS) -> None:
    """So much time passes, and the edge looks as often as it does."""
    for _ in range(round(seconds / LOOK_SECONDS)):
        sending.clock.now += LOOK_SECONDS
        await looks.look()


async def test_while_no_worker_handles_requests_nothing_overtakes_what_has_failed() -> None:
    """Until it does; and for the usual time after that."""
    async with keeping_history() as sending:
        looks = looking(sending, store := InStreams())
        store.ids[SHARD] = ["5-0", "6-0"]
        await fail(sending)
        await wait(sending, looks)
        await say(sending, "m1")
        store.ids[SHARD] = []
        await wait(sending, looks, KNOWN_SECONDS / 2)
        await say(sending, "m2")
        assert got(sending) == [b"m0"]
        await wait(sending, looks, KNOWN_SECONDS)
        await say(sending, "m3")
        assert got(sending) == [b"m0", b"m3"]


async def test_a_worker_with_a_long_backlog_is_behind_as_well() -> None:
    """It handles requests all the time; those of the last look are not all done."""
    async with keeping_history() as sending:
        looks = looking(sending, store := InStreams())
        await fail(sending)
        for number in range(20):
            store.ids[SHARD] = [f"{number}-0", f"{number + 1}-0"]
            await wait(sending, looks, LOOK_SECONDS)
        await say(sending, "m1")
        assert got(sending) == [b"m0"]


async def test_where_workers_keep_pace_a_failure_is_forgotten_in_time() -> None:
    """There are always requests, but not the same ones. What other shards have does not count."""
    async with keeping_history() as sending:
        looks = looking(sending, store := InStreams())
        store.ids[(SHARD + 1) % 16] = ["5-0"]
        await fail(sending)
        for number in range(20):
            store.ids[SHARD] = [f"{2 * number}-0", f"{2 * number}-7"]
            await wait(sending, looks, LOOK_SECONDS)
        await say(sending, "m1")
        assert got(sending) == [b"m0", b"m1"]


@pytest.mark.parametrize("is_owned", [True, False])
async def test_nobody_knows_what_workers_do_while_redis_is_unreachable(is_owned: bool) -> None:
    """In the shards of this edge. Of others, it learns anew what has failed."""
    async with keeping_history() as sending:
        looks = looking(sending, store := InStreams())
        store.unreachable = True
        await fail(sending)
        owned = sending.owner.shards
        sending.owner.shards = owned if is_owned else frozenset()
        await wait(sending, looks)
        sending.owner.shards = owned
        await say(sending, "m1")
        assert got(sending) == ([b"m0"] if is_owned else [b"m0", b"m1"])


async def test_a_stream_of_a_wrong_type_has_no_requests() -> None:
    """Who needs it reports that."""
    async with keeping_history() as sending:
        looks = looking(sending, store := InStreams())
        store.error = ReplyError("WRONGTYPE Operation against a key")
        await fail(sending)
        await wait(sending, looks)
        await say(sending, "m1")
        assert got(sending) == [b"m0", b"m1"]
