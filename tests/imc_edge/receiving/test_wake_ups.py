"""Who is looked up when, and what follows; also in test_presence_process.py with a real Redis."""

from __future__ import annotations

from typing import Any

from imc_common import keys
from imc_common.store import Command, ReplyError
from imc_edge.receiving.wake_ups import MAX_PER_TURN, RETRY_SECONDS
from tests.imc_edge.doubles import Edge, FakeStore, edge, message
from tests.imc_edge.receiving.test_registration import CAROL, register

ALICE = "alice@example.org"


class Shards(FakeStore):
    """A store in which users are away in shards; `broken` are names of commands that fail."""

    def __init__(self, away: dict[str, set[bytes]] | None = None) -> None:
        super().__init__()
        self.away = away or {}
        self.broken: set[str] = set()
        self.error = "OOM"
        self.reply = self._reply

    def _reply(self, command: Command) -> Any:
        if command[0] in self.broken:
            return ReplyError(self.error)
        if command[0] == "SMEMBERS":
            return self.away.get(str(command[1]).rpartition(":away:")[2], set())
        return 1 if command[0] in {"XADD", "SREM", "SADD", "PUBLISH"} else self.remember(command)

    def of(self, *names: str) -> list[tuple[Any, ...]]:
        """The commands with these names, in order."""
        return [tuple(command) for batch in self.batches for command in batch if command[0] in names]


async def test_a_registered_user_is_announced_and_its_shards_are_asked() -> None:
    """The 200 follows after that."""
    store = Shards({CAROL: {b"3", b"5"}})
    async with edge(store) as at:
        assert (await at.ask_one(register("<sip:c@192.0.2.7>"))).status == 200
        assert [command[1:] for command in store.of("PUBLISH")] == [(keys.PRESENCE, f"online {CAROL}")]
        assert [command[1] for command in store.of("XADD")] == [keys.requests(3), keys.requests(5)]
        assert store.of("SREM") == [("SREM", keys.away_shards(CAROL), 3, 5)]
        assert 'imc_returns_total{by="register"} 1.0' in at.metrics.page().decode()


async def test_a_user_that_missed_nothing_is_only_announced() -> None:
    """A delivery may be pending for it."""
    store = Shards()
    async with edge(store) as at:
        assert (await at.ask_one(register("<sip:c@192.0.2.7>"))).status == 200
        assert len(store.of("PUBLISH")) == 1
        assert store.of("XADD", "SREM") == []


async def test_a_user_that_leaves_is_announced() -> None:
    """Nothing else follows."""
    store = Shards({CAROL: {b"3"}})
    async with edge(store) as at:
        assert (await at.ask_one(register("<sip:c@192.0.2.7>;expires=0"))).status == 200
        assert [command[2] for command in store.of("PUBLISH")] == [f"offline {CAROL}"]
        assert store.of("SMEMBERS", "XADD") == []


async def test_a_query_says_nothing() -> None:
    """RFC 3261 §10.2.3."""
    store = Shards({CAROL: {b"3"}})
    async with edge(store) as at:
        assert (await at.ask_one(register())).status == 200
        assert store.batches == []


async def test_a_register_gets_503_if_the_edges_cannot_be_told() -> None:
    """The proxy may try again."""
    store = Shards({CAROL: {b"3"}})
    store.broken.add("PUBLISH")
    async with edge(store) as at:
        assert (await at.ask_one(register("<sip:c@192.0.2.7>"))).status == 503


async def test_a_shard_that_could_not_be_asked_stays_on_the_list() -> None:
    """The user's next sign finds it again."""
    store = Shards({CAROL: {b"3"}})
    store.broken.add("XADD")
    async with edge(store) as at:
        await at.ask_one(register("<sip:c@192.0.2.7>"))
        await at.settle()
        assert store.of("SREM", "SADD")[-1] == ("SADD", keys.away_shards(CAROL), 3)


async def test_a_user_who_registers_while_redis_is_full_is_woken_when_it_is_not() -> None:
    """Redis removes the shard from the list, and refuses the request and to write the shard again."""
    store = Shards({CAROL: {b"3"}})
    store.broken |= {"XADD", "SADD"}
    async with edge(store) as at:
        await at.ask_one(register("<sip:c@192.0.2.7>"))
        store.away = {}
        for _ in range(3):
            at.monotonic += RETRY_SECONDS
            at.acceptor.wake_ups.turn()
            at.acceptor.wake_ups.turn()  # not yet again
            await at.settle()
        assert store.of("SADD") == [("SADD", keys.away_shards(CAROL), 3)] * 4
        assert len(store.of("XADD")) == 1
        store.broken.clear()
        at.monotonic += RETRY_SECONDS
        at.acceptor.wake_ups.turn()
        await at.settle()
        store.away = {CAROL: {b"3"}}
        at.acceptor.wake_ups.turn()
        await at.settle()
        assert [command[1] for command in store.of("XADD")] == [keys.requests(3)] * 2
        at.monotonic += RETRY_SECONDS
        at.acceptor.wake_ups.turn()
        await at.settle()
        assert len(store.of("SADD")) == 5


async def test_a_stream_of_a_wrong_type_is_not_asked_again() -> None:
    """Before the user gives another sign."""
    store = Shards({CAROL: {b"3"}})
    store.broken.add("XADD")
    store.error = "WRONGTYPE"
    async with edge(store) as at:
        await at.ask_one(register("<sip:c@192.0.2.7>"))
        for _ in range(3):
            at.monotonic += RETRY_SECONDS
            at.acceptor.wake_ups.turn()
            await at.settle()
        assert (len(store.of("XADD")), len(store.of("SADD"))) == (1, 1)


async def test_a_registered_user_that_could_not_be_looked_up_is_looked_up_again() -> None:
    """It may give no other sign for long."""
    store = Shards({CAROL: {b"3"}})
    store.broken.add("SMEMBERS")
    async with edge(store) as at:
        await at.ask_one(register("<sip:c@192.0.2.7>"))
        store.broken.clear()
        at.acceptor.wake_ups.turn()
        await at.settle()
        assert [command[1] for command in store.of("XADD")] == [keys.requests(3)]


async def test_a_herd_of_users_is_told_at_once_and_woken_bit_by_bit() -> None:
    """Requests for thousands of users must not all stand before the messages of others. Who registers again
    while it waits is woken once, who leaves again not at all."""
    store = Shards()
    count = 2 * MAX_PER_TURN
    async with edge(store) as at:
        for number in (*range(count), count - 2, count - 1):
            user = f"<sip:user{number}@example.org>"
            assert (await at.ask_one(register("<sip:c@192.0.2.7>", To=user))).status == 200
        leaver = f"<sip:user{count - 1}@example.org>"
        await at.ask_one(register("<sip:c@192.0.2.7>;expires=0", To=leaver))
        assert len(store.of("PUBLISH")) == count + 3
        woken = []
        for _ in range(3):
            woken.append(len(store.of("SMEMBERS")))
            at.acceptor.wake_ups.turn()
            await at.settle()
        assert woken == [MAX_PER_TURN, count - 1, count - 1]


async def say(at: Edge, number: int) -> None:
    """Alice's next message."""
    assert (await at.ask_one(message(Call_ID=f"c{number}"))).status == 202
    await at.settle()


async def test_a_sender_is_looked_up_once_in_five_seconds() -> None:
    """In the pipeline that accepts its message: no further round trip."""
    store = Shards({ALICE: {b"7"}})
    async with edge(store, history_max_messages=500) as at:
        await say(at, 1)
        assert [command[0] for command in store.batches[0]] == ["EVALSHA", "SMEMBERS"]
        assert [command[1] for command in store.of("XADD")] == [keys.requests(7)]
        assert [command[2] for command in store.of("PUBLISH")] == [f"online {ALICE}"]
        await say(at, 2)
        assert len(store.of("SMEMBERS")) == 1
        at.monotonic += 5
        await say(at, 3)
        assert len(store.of("SMEMBERS")) == 2
        assert 'imc_returns_total{by="message"} 2.0' in at.metrics.page().decode()


async def test_a_sender_whose_shards_could_not_be_asked_is_looked_up_with_its_next_message() -> None:
    """It must not wait for five seconds."""
    store = Shards({ALICE: {b"7"}})
    store.broken.add("XADD")
    async with edge(store, history_max_messages=500) as at:
        await say(at, 1)
        await say(at, 2)
        assert len(store.of("SMEMBERS")) == 2


async def test_without_history_no_sender_is_looked_up() -> None:
    """A message costs Redis what it did before."""
    store = Shards({ALICE: {b"7"}})
    async with edge(store) as at:
        await say(at, 1)
        assert store.of("SMEMBERS") == []
