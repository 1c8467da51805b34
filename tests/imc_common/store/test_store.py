"""The store on real servers: pipelines, scripts, errors, reads, lost connections and startup checks.

This file also covers connector.py, reconnecting.py, startup_checks.py, xreadgroup.py and errors.py.
`imc_common/store/protocols.py` needs no test: mypy checks that `Store` has what each user of a store needs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from imc_common import keys
from imc_common.settings import Settings
from imc_common.store import Command, NotDurable, ReplyError, Store, StoreRefused, StoreUnreachable
from imc_common.store.connection import RedisConnection
from imc_common.store.connector import Opened
from imc_common.store.reconnecting import ReconnectingConnection
from tests.patience import PATIENCE, Stopwatch
from tests.ports import free_port
from tests.servers import Server, running

pytestmark = pytest.mark.integration


GROUP = keys.group("p1")
ALLOWANCE = 10.0
"""Seconds that a busy machine may need in addition; times when it stands still are not counted."""


def start(store: Store, shard: int) -> Command:
    """The command by which a process takes over a shard's requests."""
    return store.script("claim_stream", [keys.requests(shard), keys.lease(shard, "worker")], ["p1"])


@asynccontextmanager
async def connected(url: str, **settings: Any) -> AsyncIterator[Store]:
    store = await Store.connect(Settings(db_url=url, **settings))
    try:
        yield store
    finally:
        await store.close()


async def back(store: Store) -> None:
    """Wait until the store works again, which takes at most 5 s."""
    with Stopwatch() as watch:
        while True:
            try:
                await store.run([("PING",)])
                break
            except StoreUnreachable:
                assert watch.seconds < 5 + ALLOWANCE
                await asyncio.sleep(0.02)
    assert watch.seconds < 5 + ALLOWANCE


async def test_replies_come_in_the_order_of_the_commands(server: Server) -> None:
    """One pipeline with every kind of reply, undecoded."""
    async with connected(server.url) as store:
        replies = await store.run(
            [("SET", "a", b"\xff"), ("GET", "a"), ("INCR", "n"), ("GET", "no"), ("TYPE", "a"), ("TIME",)]
        )
    assert replies[:-1] == [b"OK", b"\xff", 1, None, b"string"]
    assert isinstance(replies[-1], list)


async def test_pipelines_of_several_tasks_do_not_mix(server: Server) -> None:
    """Pipelines in flight at the same time get their own replies."""
    async with connected(server.url) as store:
        runs = [store.run([("ECHO", f"{task}.{n}") for n in range(50)]) for task in range(20)]
        replies = await asyncio.gather(*runs)
    assert replies == [[f"{task}.{n}".encode() for n in range(50)] for task in range(20)]


async def test_a_refused_command_does_not_stop_the_others(server: Server) -> None:
    """Its error is its reply, with the code and whether a retry may succeed."""
    async with connected(server.url) as store:
        first, wrong, last = await store.run([("SET", "a", "1"), ("LPUSH", "a", "x"), ("GET", "a")])
    assert (first, last) == (b"OK", b"1")
    assert isinstance(wrong, ReplyError)
    assert wrong.code == "WRONGTYPE"
    assert not wrong.transient
    assert ReplyError("OOM command not allowed when used memory > 'maxmemory'.").transient


async def test_scripts_run_also_when_the_server_lost_them(server: Server) -> None:
    """Callers do not notice SCRIPT FLUSH, and the order of effects stays."""
    async with connected(server.url) as store:
        for _ in range(5):
            take = [store.script("acquire_lease", ["lease"], [name, 1000]) for name in ("a", "b")]
            assert await store.run([*take, ("GET", "lease"), ("DEL", "lease")]) in (
                [1, 0, None, 0],  # scripts sent again, after the rest
                [1, 0, b"a", 1],
            )
            await store.run([("SCRIPT", "FLUSH"), ("DEL", "lease")])


async def test_reading_gives_ids_and_flat_fields(server: Server) -> None:
    """Each entry once. Redis records how far the stream was read and keeps no list of pending entries."""
    async with connected(server.url) as store:
        streams = [keys.requests(1), keys.requests(2)]
        for shard in (1, 2):
            await store.run([start(store, shard)])
        await store.run([("XADD", streams[1], "1-1", "a", "b"), ("XADD", streams[1], "1-2", "c", "d")])
        new = await store.read_new(GROUP, streams, 10, 10)
        assert new == [(streams[1], [(b"1-1", [b"a", b"b"]), (b"1-2", [b"c", b"d"])])]
        assert await store.read_new(GROUP, streams, 10, 10) == []
        (pending, *_), read = await store.run(
            [
                ("XPENDING", streams[1], GROUP),
                start(store, 2),
            ]
        )
        assert (pending, read) == (0, b"1-2")


async def test_a_blocking_read_does_not_delay_pipelines(server: Server) -> None:
    """A blocking read has a connection of its own, and ends when an entry comes."""
    async with connected(server.url) as store:
        await store.run([start(store, 1)])
        await back(store)
        reading = asyncio.create_task(
            store.read_new(GROUP, [keys.requests(1)], 10, 10 * int(PATIENCE) * 1000)
        )
        await asyncio.sleep(0.05)
        await store.run([("XADD", keys.requests(1), "1-1", "a", "b")])
        assert await asyncio.wait_for(reading, PATIENCE) == [(keys.requests(1), [(b"1-1", [b"a", b"b"])])]


async def test_a_missing_consumer_group_raises_nogroup(server: Server) -> None:
    """The caller creates the group then."""
    async with connected(server.url) as store:
        await asyncio.sleep(0.2)
        with pytest.raises(ReplyError, match="NOGROUP"):
            await store.read_new(GROUP, [keys.requests(1)], 10, 10)


async def test_the_store_reconnects_to_a_restarted_server(server: Server) -> None:
    """Commands fail at once while it is down. Within 5 s of its start they work, and the data are there."""
    async with connected(server.url) as store:
        await store.run([("SET", "a", "1")])
        server.kill()
        await asyncio.sleep(0.05)
        with pytest.raises(StoreUnreachable):
            await store.run([("GET", "a")])
        server.start()
        await back(store)
        assert await store.run([("GET", "a")]) == [b"1"]


async def test_a_pipeline_in_flight_fails_when_the_server_dies(server: Server) -> None:
    """With StoreUnreachable, because its outcome is unknown."""
    async with connected(server.url) as store:
        waiting = asyncio.create_task(store.run([("BLPOP", "none", 30)]))
        await asyncio.sleep(0.05)
        server.kill()
        with pytest.raises(StoreUnreachable):
            await waiting


async def test_reconnect_attempts_are_spaced(server: Server) -> None:
    """At most two a second in a process, however many connections it has."""
    attempts = 0

    class Counting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            nonlocal attempts
            attempts += 1
            transport.close()

    async with connected(server.url, durability="replicas"):
        await asyncio.sleep(0.3)
        server.kill()
        os.unlink(server.socket)
        loop = asyncio.get_running_loop()
        started = loop.time()
        listener = await loop.create_unix_server(Counting, server.socket)
        await asyncio.sleep(3.0)
        assert 2 <= attempts <= 2 * (loop.time() - started) + 1
        listener.close()


async def test_a_connection_to_a_demoted_primary_is_left(server: Server) -> None:
    """READONLY is the error of the command, and the store connects again."""
    async with connected(server.url) as store:
        await store.run([("SET", "a", "1")])
        server.call("REPLICAOF", "127.0.0.1", "1")
        (reply,) = await store.run([("SET", "a", "2")])
        assert isinstance(reply, ReplyError)
        assert reply.transient
        with pytest.raises(StoreUnreachable):
            await store.run([("GET", "a")])
        await asyncio.sleep(0.3)  # it is a replica: the store does not use it
        with pytest.raises(StoreUnreachable):
            await store.run([("GET", "a")])
        server.call("REPLICAOF", "NO", "ONE")
        await back(store)


async def test_a_connection_to_a_primary_without_replicas_is_left(server: Server) -> None:
    """NOREPLICAS: it may be cut off and replaced, so the store asks again who the primary is."""
    async with connected(server.url) as store:
        await store.run([("SET", "a", "1")])
        server.call("CONFIG", "SET", "min-replicas-to-write", "1")
        (reply,) = await store.run([("SET", "a", "2")])
        assert isinstance(reply, ReplyError)
        assert reply.transient
        with pytest.raises(StoreUnreachable):
            await store.run([("GET", "a")])
        server.call("CONFIG", "SET", "min-replicas-to-write", "0")
        await back(store)


@pytest.fixture
def tcp_server(tmp_path: Path) -> Iterator[Server]:
    """A server on a TCP port: only there something can be on its way for long."""
    with running("redis-server", tmp_path, "--maxmemory-policy", "noeviction", port=free_port()) as server:
        yield server


def lose(store: Store) -> RedisConnection:
    """Have the store lose its connection, as in a network failure: the server does not notice."""
    main: ReconnectingConnection = store._backend._main  # type: ignore[attr-defined]
    lost = main._connection
    assert lost is not None
    lost.ended = "lost"
    main._lost(lost)
    return lost


async def is_connected(store: Store, lost: RedisConnection) -> bool:
    """Whether the server still has this connection."""
    (listed,) = await store.run([("CLIENT", "LIST", "ID", lost.number)])
    return bool(listed)


async def test_a_new_connection_ends_its_predecessor_at_the_server(tcp_server: Server) -> None:
    """What is still on its way there must not take effect after what is sent on the new one."""
    async with connected(tcp_server.url) as store:
        lost = lose(store)
        await back(store)
        assert not await is_connected(store, lost)


@pytest.mark.parametrize("change", ["number", "local_address", "name"])
async def test_no_other_connection_is_ended(tcp_server: Server, change: str) -> None:
    """After a restart another one may have the same number; a new primary knows nothing of the old one."""
    async with connected(tcp_server.url) as store:
        lost = lose(store)
        known = lost.number
        setattr(lost, change, 0 if change == "number" else "127.0.0.1:1")
        await back(store)
        lost.number = known
        assert await is_connected(store, lost)
        assert lost._transport is not None
        lost._transport.abort()


async def test_a_store_works_without_the_right_to_end_connections(tcp_server: Server) -> None:
    """The Redis user is from a former version."""
    tcp_server.call("ACL", "SETUSER", "default", "-client|kill")
    async with connected(tcp_server.url) as store:
        lost = lose(store)
        await back(store)
        assert await is_connected(store, lost)
        assert lost._transport is not None
        lost._transport.abort()


async def test_a_server_that_ends_during_that_is_connected_again(tcp_server: Server) -> None:
    """The attempt counts as failed, and the next one follows."""
    async with connected(tcp_server.url) as store:
        main: ReconnectingConnection = store._backend._main  # type: ignore[attr-defined]
        connect, fragile = main._connect, [True]

        async def connect_once_in_vain() -> Opened:
            opened = await connect()
            if fragile.pop():
                fragile.append(False)
                opened[0].end("cut")
            return opened

        main._connect = connect_once_in_vain
        lost = lose(store)
        await back(store)
        assert not await is_connected(store, lost)


async def test_only_noeviction_is_accepted(server: Server) -> None:
    """A Redis that may delete keys is refused at the start; the error says what to change."""
    server.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    with pytest.raises(StoreRefused, match="noeviction"):
        await Store.connect(Settings(db_url=server.url))


async def test_imc_starts_when_config_is_forbidden(server: Server) -> None:
    """Users of applications often may not run CONFIG."""
    server.call("ACL", "SETUSER", "imc", "on", ">secret", "~*", "+@all", "-config")
    async with connected(server.url.replace("unix://", "unix://imc:secret@")) as store:
        assert await store.run([("PING",)]) == [b"PONG"]


async def test_wrong_credentials_are_refused(server: Server) -> None:
    """A wrong password ends the start without a retry."""
    server.call("ACL", "SETUSER", "imc", "on", ">secret", "~*", "+@all")
    with pytest.raises(StoreRefused, match="WRONGPASS"):
        await Store.connect(Settings(db_url=server.url.replace("unix://", "unix://imc:wrong@")))


async def test_missing_credentials_are_refused(server: Server) -> None:
    """NOAUTH ends the start without a retry."""
    server.call("CONFIG", "SET", "requirepass", "secret")
    with pytest.raises(StoreRefused, match="NOAUTH"):
        await Store.connect(Settings(db_url=server.url))


async def test_every_process_must_agree_on_hash_size(server: Server) -> None:
    """The first start stores the value. Another one is refused, with the command that re-shards."""
    async with connected(server.url, hash_size=4) as first, connected(server.url, hash_size=4) as second:
        assert first.secret == second.secret
        assert len(first.secret) == 32
    with pytest.raises(StoreRefused, match="imc reshard"):
        await Store.connect(Settings(db_url=server.url, hash_size=5))


async def test_a_durable_run_fails_without_replicas(server: Server) -> None:
    """The commands had their effect, but the caller must not accept the request."""
    async with connected(server.url, durability="replicas") as store:
        with pytest.raises(NotDurable):
            await store.run([("SET", "a", "1")], durable=True)
        assert await store.run([("GET", "a")]) == [b"1"]


async def test_fsync_waits_for_the_disk(server: Server) -> None:
    """A durable run returns when the disk has the data. Without WAITAOF or appendfsync always: no start."""
    if b"redis_version:7.0" in server.call("INFO", "server") or "redis-server" in str(server._command[0]):
        with pytest.raises(StoreRefused, match="WAITAOF"):
            await Store.connect(Settings(db_url=server.url, durability="fsync"))
        return
    server.call("CONFIG", "SET", "appendfsync", "everysec")
    with pytest.raises(StoreRefused, match="CONFIG SET appendfsync always"):
        await Store.connect(Settings(db_url=server.url, durability="fsync"))
    server.call("CONFIG", "SET", "appendfsync", "always")
    async with connected(server.url, durability="fsync") as store:
        await store.run([("SCRIPT", "FLUSH")])
        lease = store.script("acquire_lease", ["lease"], ["a", 1000])
        assert await store.run([lease, ("GET", "lease")], durable=True) == [1, None]
        assert await store.run([lease, ("GET", "lease")], durable=True) == [1, b"a"]


async def test_a_durable_run_fails_while_the_replica_is_paused_and_a_retry_succeeds(server: Server) -> None:
    """The retry of a request that is in Redis already is a duplicate and waits for the replica again."""
    port = free_port()
    kind = Path(server._command[0]).name.replace("valkey-server", "valkey")
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as two,
        running(kind, Path(one), port=port) as primary,
        running(kind, Path(two), "--replicaof", "127.0.0.1", str(port)) as replica,
    ):
        async with connected(primary.url, durability="replicas") as store:
            await until_safe(store, ("SET", "a", "1"))
            replica.signal(signal.SIGSTOP)
            with pytest.raises(NotDurable):
                await store.run([accept(store)], durable=True)
            replica.signal(signal.SIGCONT)
            assert await until_safe(store, accept(store)) == [b"duplicate"]
            assert await store.run([("XLEN", keys.requests(0))]) == [1]


async def test_a_retry_after_a_lost_reply_makes_no_second_entry(server: Server) -> None:
    """Redis executed the request, but its reply did not arrive: the retry is a duplicate."""
    relay = Relay(server.socket)
    path = server.socket + ".relay"
    listener = await asyncio.start_unix_server(relay.serve, path)
    async with connected(f"unix://{path}") as store:
        await store.run([accept(store, "other")])  # now the server has the script
        relay.swallows = True
        with pytest.raises(StoreUnreachable, match="no reply in time"):
            await store.run([accept(store)])
        relay.swallows = False
        await back(store)
        repeated = await store.run([accept(store), ("XLEN", keys.requests(0))])
    listener.close()
    await asyncio.gather(*relay.serving)
    assert repeated == [[b"duplicate"], 2]


class Relay:
    """Passes requests on to the server, and its replies back unless `swallows` is set."""

    def __init__(self, path: str) -> None:
        self.swallows = False
        self.serving: list[asyncio.Task[None]] = []
        self._path = path

    async def serve(self, near: asyncio.StreamReader, back_to: asyncio.StreamWriter) -> None:
        """One connection, until the client ends it."""
        far, out = await asyncio.open_unix_connection(self._path)
        self.serving.append(asyncio.create_task(self._replies(far, back_to)))
        while data := await near.read(65536):
            out.write(data)
        out.close()

    async def _replies(self, far: asyncio.StreamReader, back_to: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await far.read(65536):
                if not self.swallows:
                    back_to.write(data)
        back_to.close()


def accept(store: Store, call_id: str = "c") -> Command:
    fields = ["type", "message", "call_id", call_id]
    return store.script("accept_many", keys.accepting(0), [60_000, 0, "", call_id, len(fields), *fields])


async def until_safe(store: Store, command: Command) -> Any:
    """Repeat the command until a replica has it; its last reply."""
    for _ in range(100):
        try:
            return (await store.run([command], durable=True))[0]
        except NotDurable:
            await asyncio.sleep(0.1)
    pytest.fail("no replica ever had it")
