"""Real worker processes on real servers: killed, suspended, joined by others, given deadly entries,
drained."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from imc_common import keys
from imc_common.keys import Keys, shard_of
from imc_common.rooms.request import RequestData, RoomRequest
from imc_common.settings import Settings
from imc_common.store import Store, StoreUnreachable
from tests.patience import PATIENCE, Stopwatch
from tests.ports import free_port
from tests.servers import KINDS, Server, running

pytestmark = pytest.mark.integration

LEASE = 1.0
ALLOWANCE = 10.0
"""Seconds that a busy machine may need on top of what is stated; standstills of it are not counted at all."""
SHARDS = 16
ROOMS = [f"room-{number}@example.org" for number in range(24)]
DEADLY = """
import os, sys
from imc_worker import dispatcher
class Deadly(dispatcher.Dispatcher):
    def room_command(self, action, shard, entry_id, fields, owned_elsewhere):
        if b"deadly" in fields[b"data"]:
            os._exit(9)
        return super().room_command(action, shard, entry_id, fields, owned_elsewhere)
    def messages(self, batches):
        if any(b"deadly" in b"".join(fields) for batch in batches for _, _, fields in batch):
            os._exit(9)
        return super().messages(batches)
from imc_worker import launcher, __main__
launcher.Dispatcher = Deadly
sys.exit(__main__.main())
"""


class Plant:
    """One server, some workers on it, and the streams as an edge sees them."""

    def __init__(self, server: Server, store: Store, folder: Path) -> None:
        self.server = server
        self.store = store
        self.log = folder / "workers.log"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.sent = 0

    def start(self, *arguments: str, status: str = "") -> subprocess.Popen[bytes]:
        env = {**os.environ, "IMC_DB_URL": self.server.url, "IMC_LEASE_TTL": str(LEASE)}
        env["IMC_STATUS_LISTEN"] = status
        with self.log.open("ab") as log:
            command = [sys.executable, *(arguments or ("-m", "imc_worker"))]
            worker = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        self.workers.append(worker)
        return worker

    def end(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.kill()
            worker.wait()

    async def make_rooms(self) -> None:
        """Every room has one owner and one member, without the workers' help."""
        names = Keys()
        for room in ROOMS:
            shard = shard_of(room, 4)
            roles = ["a@example.org", "owner", "b@example.org", "member"]
            await self.store.run(
                [
                    ("ZADD", names.rooms(shard), 0, room),
                    ("HSET", names.room(shard, room), "private", "0"),
                    ("HSET", names.members(shard, room), *roles),
                ]
            )

    async def say(self, number: int) -> None:
        """As many messages, one room after the other, each with its number as Call-ID; all are taken."""
        commands = []
        for _ in range(number):
            room = ROOMS[self.sent % len(ROOMS)]
            data = RequestData(body=b"hi", call_id=str(self.sent), at=1).pack()
            request = RoomRequest("message", "a@example.org", room, data=data)
            commands.append(("XADD", keys.requests(shard_of(room, 4)), "*", *request.to_fields()))
            self.sent += 1
        replies = await self.store.run(commands)
        assert all(isinstance(reply, bytes) for reply in replies), replies

    async def until(self, true: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Waits until an awaited condition holds."""
        started = time.monotonic()
        while True:
            try:
                if await true():  # type: ignore[misc]
                    return
            except StoreUnreachable:
                pass
            assert time.monotonic() - started < seconds, self.log.read_text()[-3000:]
            await asyncio.sleep(0.02)

    async def idle(self) -> bool:
        lengths = await self.store.run([("XLEN", keys.requests(shard)) for shard in range(SHARDS)])
        return not any(lengths)

    async def spread(self) -> list[int]:
        """How many shards each holder of leases has, most first."""
        holders = await self.store.run([("GET", keys.lease(shard, "worker")) for shard in range(SHARDS)])
        return sorted(Counter(holder for holder in holders if holder).values(), reverse=True)

    async def assert_handled_once_in_order(self) -> None:
        """Each message led to one event, and every room's are in order."""
        streams = await self.store.run([("XRANGE", keys.events(s), "-", "+") for s in range(SHARDS)])
        numbers: dict[bytes, list[int]] = {}
        for stream in streams:
            for _, flat in stream:
                fields = dict(zip(flat[::2], flat[1::2], strict=True))
                numbers.setdefault(fields[b"room"], []).append(
                    int(RequestData.unpack(fields[b"data"]).call_id)
                )
        assert sorted(n for room in numbers.values() for n in room) == list(range(self.sent))
        assert all(room == sorted(room) for room in numbers.values())


on_each_server = pytest.mark.parametrize("server", KINDS, indirect=True)
"""For tests of what a server does; the others are about workers."""


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    kind = getattr(request, "param", "redis-server")
    with (
        tempfile.TemporaryDirectory() as folder,
        running(kind, Path(folder), "--appendonly", "yes", "--appendfsync", "always") as server,
    ):
        yield server


@pytest.fixture
async def plant(server: Server, tmp_path: Path) -> AsyncIterator[Plant]:
    store = await Store.connect(Settings(db_url=server.url))
    plant = Plant(server, store, tmp_path)
    await plant.make_rooms()
    yield plant
    plant.end()
    await store.close()


async def test_workers_share_the_shards_and_come_and_go_under_load(plant: Plant) -> None:
    """6, 5 and 5 of 16 shards; then one leaves. Nothing is lost, doubled or out of order."""
    plant.start()
    await plant.until(lambda: _is(plant.spread(), [16]))
    plant.start()
    plant.start()
    for _ in range(40):
        await plant.say(100)
        await asyncio.sleep(0.02)
    await plant.until(lambda: _is(plant.spread(), [6, 5, 5]))
    leaving = plant.workers.pop(0)
    leaving.terminate()
    for _ in range(20):
        await plant.say(100)
        await asyncio.sleep(0.02)
    await plant.until(lambda: _is(plant.spread(), [8, 8]))
    await plant.until(plant.idle)
    assert leaving.wait(PATIENCE) == 0
    await plant.assert_handled_once_in_order()


async def test_a_killed_worker_is_replaced_within_two_leases(plant: Plant) -> None:
    """SIGKILL under load: another one takes its shards, and each message takes effect once."""
    first = plant.start()
    plant.start()
    await plant.until(lambda: _is(plant.spread(), [8, 8]))
    await plant.say(2000)
    first.kill()
    with Stopwatch() as watch:
        await plant.say(2000)
        await plant.until(plant.idle)
    assert watch.seconds < 2 * LEASE + ALLOWANCE  # and the handling itself
    await plant.assert_handled_once_in_order()


async def test_a_suspended_worker_does_no_harm_when_it_resumes(plant: Plant) -> None:
    """SIGSTOP for longer than the lease, then SIGCONT: what it had read or sent takes effect once."""
    first = plant.start()
    plant.start()
    await plant.until(lambda: _is(plant.spread(), [8, 8]))
    for _ in range(3):
        await plant.say(1000)
        first.send_signal(signal.SIGSTOP)
        await plant.say(1000)
        await plant.until(plant.idle)
        await plant.say(1000)
        first.send_signal(signal.SIGCONT)
        await plant.say(1000)
        await plant.until(plant.idle)
        await plant.until(lambda: _is(plant.spread(), [8, 8]))
    await plant.assert_handled_once_in_order()


@on_each_server
async def test_a_restart_of_redis_loses_and_doubles_nothing(plant: Plant) -> None:
    """Under load, with an append-only file. Scripts are loaded again."""
    plant.start()
    plant.start()
    await plant.say(3000)
    plant.server.kill()
    await asyncio.sleep(0.3)
    plant.server.start()
    with Stopwatch() as watch:
        await plant.until(lambda: _is(plant.store.run([("PING",)]), [b"PONG"]))
    assert watch.seconds < 5 + ALLOWANCE
    await plant.say(1000)
    await plant.until(plant.idle)
    await plant.assert_handled_once_in_order()


@on_each_server
async def test_flushed_scripts_are_sent_again(plant: Plant) -> None:
    """SCRIPT FLUSH under load, repeatedly; the order stays."""
    plant.start()
    for _ in range(30):
        await plant.say(100)
        await plant.store.run([("SCRIPT", "FLUSH")])
        await asyncio.sleep(0.02)
    await plant.until(plant.idle)
    await plant.assert_handled_once_in_order()


async def test_an_entry_that_kills_workers_becomes_a_dead_letter(plant: Plant) -> None:
    """After max_attempts deaths the shard continues; other shards never stopped."""
    room = ROOMS[0]
    shard = shard_of(room, 4)
    data = RequestData(call_id="deadly", at=1).pack()
    request = RoomRequest("message", "a@example.org", room, data=data)
    await plant.store.run([("XADD", keys.requests(shard), "*", *request.to_fields())])
    await plant.say(200)
    deaths = 0
    started = time.monotonic()
    while not await plant.idle():
        worker = plant.start("-c", DEADLY)
        while worker.poll() is None and not await plant.idle():
            await asyncio.sleep(0.02)
            assert time.monotonic() - started < 4 * PATIENCE
        deaths += worker.poll() == 9
    assert deaths == Settings().max_attempts
    ((_, fields),) = (await plant.store.run([("XRANGE", keys.dead(shard), "-", "+")]))[0]
    assert b"deadly" in b"".join(fields)
    await plant.assert_handled_once_in_order()


@on_each_server
async def test_a_full_redis_drains(plant: Plant) -> None:
    """New requests are refused; those in the streams are handled, also by a new owner."""
    worker = plant.start()
    await plant.until(lambda: _is(plant.spread(), [16]))
    worker.send_signal(signal.SIGSTOP)
    await plant.say(2000)
    worker.kill()
    plant.server.call("CONFIG", "SET", "maxmemory", "1")
    (refused,) = await plant.store.run([("XADD", keys.requests(0), "*", "a", "b")])
    assert refused.code == "OOM"
    plant.start()
    await plant.until(plant.idle)
    plant.server.call("CONFIG", "SET", "maxmemory", "0")
    await plant.assert_handled_once_in_order()


@on_each_server
async def test_a_redis_that_hangs_is_waited_for(plant: Plant) -> None:
    """Longer than leases and timeouts: connections are closed, nothing is lost or doubled."""
    plant.start()
    await plant.until(lambda: _is(plant.spread(), [16]))
    await plant.say(3000)
    plant.server.signal(signal.SIGSTOP)
    await asyncio.sleep(4.5)
    plant.server.signal(signal.SIGCONT)
    await plant.until(lambda: _is(plant.store.run([("PING",)]), [b"PONG"]))
    await plant.say(500)
    await plant.until(plant.idle)
    await plant.assert_handled_once_in_order()


@on_each_server
async def test_an_empty_redis_is_used_again(plant: Plant) -> None:
    """Its data is lost; groups are created again, and new requests are handled from the first one."""
    plant.start()
    await plant.say(24)
    await plant.until(plant.idle)
    await plant.store.run([("FLUSHALL",)])
    plant.sent = 0
    await plant.make_rooms()
    await plant.say(500)
    await plant.until(plant.idle)
    await plant.assert_handled_once_in_order()
    assert "redis lost its consumer groups" in plant.log.read_text()


@on_each_server
async def test_a_busy_redis_is_waited_for(plant: Plant) -> None:
    """Another client's script runs forever: nothing becomes a dead letter, and work continues after SCRIPT
    KILL."""
    plant.server.call("CONFIG", "SET", "busy-reply-threshold", "50")
    plant.start()
    await plant.until(lambda: _is(plant.spread(), [16]))
    await plant.say(1000)
    blocking = asyncio.create_task(asyncio.to_thread(plant.server.call, "EVAL", "while true do end", "0"))
    await asyncio.sleep(2.0)
    await asyncio.to_thread(plant.server.call, "SCRIPT", "KILL")
    await blocking
    await plant.until(plant.idle)
    await plant.assert_handled_once_in_order()


async def test_sigterm_drains_and_releases_the_leases(plant: Plant) -> None:
    """Exit status 0; the process is not listed as alive."""
    worker = plant.start()
    await plant.until(lambda: _is(plant.spread(), [16]))
    await plant.say(2000)
    worker.terminate()
    assert worker.wait(PATIENCE) == 0
    assert await plant.spread() == []
    assert await plant.store.run([("ZCARD", keys.WORKERS)]) == [0]
    plant.start()
    await plant.until(plant.idle)
    await plant.assert_handled_once_in_order()


async def test_a_second_sigterm_ends_at_once_without_loss(plant: Plant) -> None:
    """Pending entries stay in Redis for the next owner."""
    worker = plant.start()
    await plant.until(lambda: _is(plant.spread(), [16]))
    await plant.say(4000)
    worker.terminate()
    await asyncio.sleep(0.005)
    worker.terminate()
    assert worker.wait(PATIENCE) in {0, 1}
    plant.start()
    await plant.until(plant.idle)
    await plant.assert_handled_once_in_order()


async def test_streams_are_empty_at_rest(plant: Plant) -> None:
    """Handled entries are deleted: no lag, none pending, no counter of attempts."""
    plant.start()
    await plant.say(1000)
    await plant.until(plant.idle)
    await plant.until(lambda: _is(plant.store.run([("KEYS", "imc:*:attempts:*")]), [[]]))
    groups = await plant.store.run([("XINFO", "GROUPS", keys.requests(s)) for s in range(SHARDS)])
    for (group,) in groups:
        about = dict(zip(group[::2], group[1::2], strict=True))
        assert (about[b"lag"], about[b"pending"]) == (0, 0)


async def test_the_status_page_shows_readiness_and_counters(plant: Plant) -> None:
    """503 while Redis is unreachable; handled entries and owned shards."""
    port = free_port()
    worker = plant.start(status=f"127.0.0.1:{port}")
    await plant.until(lambda: _is(plant.spread(), [16]))
    await plant.say(100)
    await plant.until(plant.idle)

    async def shows(path: str, status: int, *words: str) -> bool:
        found, page = await asyncio.to_thread(fetch, port, path)
        return found == status and all(word in page for word in words)

    worker.send_signal(signal.SIGHUP)  # sent to all services for a reload: not the end of a worker
    await plant.until(lambda: shows("/readyz", 200, "ok\n"))

    all_done = "imc_worker_entries_total 100.0", 'imc_leases{role="worker"} 16.0'
    await plant.until(lambda: shows("/metrics", 200, *all_done))
    plant.server.kill()
    await plant.until(lambda: shows("/readyz", 503))
    plant.server.start()
    await plant.until(lambda: shows("/readyz", 200))
    worker.terminate()
    assert worker.wait(PATIENCE) == 0


def fetch(port: int, path: str) -> tuple[int, str]:
    """Status and body of a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


async def _is(reply: object, expected: object) -> bool:
    return bool(await reply == expected)  # type: ignore[misc]
