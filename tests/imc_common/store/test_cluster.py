"""The store on a cluster of three primaries and three replicas: slots move, a primary dies."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from imc_common import keys
from imc_common.settings import Settings
from imc_common.store import ReplyError, Store, StoreUnreachable
from imc_common.store import cluster as cluster_module
from imc_common.store.slots import slot_of
from imc_edge.receiving.accept_pipeline import Accept, AcceptPipeline
from tests.chaos.servers import Cluster, redis_cli
from tests.imc_common.store.test_subscription import following, published
from tests.patience import PATIENCE
from tests.processes import wait_until
from tests.servers import program

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SHARDS = range(16)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    program("redis-server")
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder))
        cluster.start()
        yield cluster
        cluster.stop()


@pytest.fixture
async def store(cluster: Cluster) -> AsyncIterator[Store]:
    store = await Store.connect(Settings(db_url=cluster.url, durability="replicas"))
    yield store
    await store.close()


async def accept_all(store: Store, call_id: str) -> list[Any]:
    """One request into each shard; returns when a replica has it."""
    return await store.run(
        [
            store.script(
                "accept_many",
                keys.accepting(shard),
                [60_000, 0, "", call_id, 4, "type", "message", "call_id", call_id],
            )
            for shard in SHARDS
        ],
        durable=True,
    )


async def accept_until_safe(store: Store, call_id: str) -> None:
    """Repeat it as a client does, until every shard has it."""
    replies: list[Any] = []
    until = time.monotonic() + 2 * PATIENCE
    while time.monotonic() < until:
        try:
            replies = await accept_all(store, call_id)
            if all(reply in ([b"accepted"], [b"duplicate"]) for reply in replies):
                return
        except StoreUnreachable:
            pass
        await asyncio.sleep(0.05)
    pytest.fail(f"{call_id} was never accepted: {replies}")


async def call_ids(store: Store) -> dict[int, list[bytes]]:
    streams = await store.run([("XRANGE", keys.requests(shard), "-", "+") for shard in SHARDS])
    return {shard: [fields[3] for _, fields in stream] for shard, stream in zip(SHARDS, streams, strict=True)}


async def clear(store: Store) -> None:
    await store.run([("DEL", keys.requests(shard)) for shard in SHARDS])


async def test_a_pipeline_over_all_nodes_keeps_its_order(store: Store) -> None:
    """Replies are in the order of the commands, whichever node each ran on."""
    commands = [("SET", f"{{{n % 16}}}:{n}", n) for n in range(200)]
    assert await store.run(commands) == [b"OK"] * 200
    replies = await store.run([("GET", f"{{{n % 16}}}:{n}") for n in range(200)])
    assert replies == [str(n).encode() for n in range(200)]
    assert await store.run([("PING",)]) == [b"PONG"]
    assert len(await store.run_on_primaries([("DBSIZE",)])) == 3


async def test_streams_on_several_nodes_are_read_together(store: Store) -> None:
    """One read returns the new entries of all shards."""
    await clear(store)
    streams = [keys.requests(shard) for shard in SHARDS]
    await store.run(
        [store.script("claim_stream", [keys.requests(s), keys.lease(s, "worker")], ["p1"]) for s in SHARDS]
    )
    reading = asyncio.create_task(store.read_new(keys.group("p1"), streams, 10, 1000 * int(PATIENCE)))
    await asyncio.sleep(0.05)
    await store.run([("XADD", streams[3], "1-1", "a", "b")])
    assert await reading == [(streams[3], [(b"1-1", [b"a", b"b"])])]


async def test_scripts_run_on_every_node_after_a_flush(store: Store, cluster: Cluster) -> None:
    """NOSCRIPT is handled node by node."""
    for port in cluster.primaries():
        redis_cli(port, "SCRIPT", "FLUSH")
    await clear(store)
    await store.run([("DEL", keys.seen(shard, "recent")) for shard in SHARDS])
    await accept_until_safe(store, "flush")
    assert await call_ids(store) == {shard: [b"flush"] for shard in SHARDS}


async def test_messages_are_accepted_once_while_slots_move(store: Store, cluster: Cluster) -> None:
    """The store follows MOVED, ASK and TRYAGAIN. Every request is there once, in order."""
    await clear(store)
    done = asyncio.Event()
    sent: list[str] = []

    async def flow() -> None:
        while not done.is_set():
            sent.append(f"move-{len(sent)}")
            await accept_until_safe(store, sent[-1])
            await asyncio.sleep(0.01)

    flowing = asyncio.create_task(flow())
    await asyncio.to_thread(move_slots, cluster)
    done.set()
    await flowing
    assert len(sent) > 5
    assert set(map(tuple, (await call_ids(store)).values())) == {tuple(name.encode() for name in sent)}


async def test_requests_of_one_batch_become_one_entry_each_while_their_slot_moves(
    store: Store, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the stream is on its new node and the record of requests is still on the old one."""
    monkeypatch.setattr(
        cluster_module, "REDIRECT_SECONDS", PATIENCE
    )  # the slot may be between nodes for long
    await clear(store)
    requests = keys.requests(3)
    for moved in (requests, keys.seen(3, "recent")):
        await store.run([("DEL", key) for key in keys.accepting(3)])
        pipeline = AcceptPipeline(store, Settings(db_url=cluster.url))
        accepts = [Accept(3, digest, ["type", "list", "call_id", "c"]) for digest in ("known", "new")]
        assert await pipeline.run(accepts[:1]) == [b"accepted"]
        with half_moved(cluster, requests, moved):
            together = asyncio.create_task(pipeline.run(accepts))
            await asyncio.sleep(0.3)
        assert await together == [b"duplicate", b"accepted"]
        assert await store.run([("XLEN", requests)]) == [2]


@contextmanager
def half_moved(cluster: Cluster, name: str, moved: str) -> Iterator[None]:
    """The slot of the key `name` is moving to another primary; only its key `moved` is there so far."""
    ports = sorted(cluster.primaries())
    ids = {port: redis_cli(port, "CLUSTER", "MYID") for port in ports}
    slot = str(slot_of(("GET", name)))
    owner = next(p for p in ports if not redis_cli(p, "XLEN", name).startswith("MOVED"))
    target = ports[(ports.index(owner) + 1) % len(ports)]
    redis_cli(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[owner])
    redis_cli(owner, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
    redis_cli(owner, "MIGRATE", "127.0.0.1", str(target), "", "0", "5000", "KEYS", moved)
    yield
    while names := redis_cli(owner, "CLUSTER", "GETKEYSINSLOT", slot, "20").split():
        redis_cli(owner, "MIGRATE", "127.0.0.1", str(target), "", "0", "5000", "KEYS", *names)
    for port in (target, owner, *ports):
        redis_cli(port, "CLUSTER", "SETSLOT", slot, "NODE", ids[target])


def move_slots(cluster: Cluster) -> None:
    """Move each shard's slot to the next primary, key by key, slowly enough to be noticed."""
    ports = sorted(cluster.primaries())
    ids = {port: redis_cli(port, "CLUSTER", "MYID") for port in ports}
    for shard in SHARDS:
        slot = str(slot_of(("GET", keys.requests(shard))))
        owner = next(p for p in ports if not redis_cli(p, "GET", keys.requests(shard)).startswith("MOVED"))
        target = ports[(ports.index(owner) + 1) % len(ports)]
        redis_cli(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[owner])
        redis_cli(owner, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        while names := redis_cli(owner, "CLUSTER", "GETKEYSINSLOT", slot, "20").split():
            redis_cli(owner, "MIGRATE", "127.0.0.1", str(target), "", "0", "5000", "KEYS", *names)
        for port in (target, owner, *ports):
            redis_cli(port, "CLUSTER", "SETSLOT", slot, "NODE", ids[target])


async def test_a_dead_cluster_primary_loses_no_accepted_request(store: Store, cluster: Cluster) -> None:
    """Shards on other nodes continue at once, those of the dead node after its replica took over."""
    await clear(store)
    before = [f"before-{n}" for n in range(20)]
    for name in before:
        await accept_until_safe(store, name)
    victim = cluster.primaries()[0]
    cluster.servers[victim].end()
    replies = await accept_some(store, "during")
    assert list in {type(reply) for reply in replies}
    assert all(reply.transient for reply in replies if isinstance(reply, ReplyError))
    await asyncio.to_thread(wait_until, lambda: len(cluster.primaries()) == 3, "a failover")
    cluster.servers[victim].start()  # as a replica, without which nothing is safe there
    await accept_until_safe(store, "after")
    for name in before:
        await accept_until_safe(store, name)  # a late retransmission of a client: a duplicate
    expected = tuple(name.encode() for name in [*before, "after"])
    found = await call_ids(store)
    assert {tuple(c for c in ids if c != b"during") for ids in found.values()} == {expected}


async def accept_some(store: Store, call_id: str) -> list[Any]:
    while True:
        try:
            return await accept_all(store, call_id)
        except StoreUnreachable:
            await asyncio.sleep(0.05)


async def test_an_unreachable_cluster_is_reported() -> None:
    """StoreUnreachable names all seeds."""
    with pytest.raises(StoreUnreachable, match="no node of the cluster"):
        await Store.connect(Settings(db_url="redis+cluster://127.0.0.1:1,127.0.0.1:2"))


async def test_a_message_of_a_channel_arrives_whichever_nodes_are_used(store: Store) -> None:
    """The nodes pass it on to each other."""
    async with following(store) as got, following(store) as got_by_another:
        await published(store, got, "one")
        await published(store, got_by_another, "two")
