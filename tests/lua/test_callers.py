"""What Python gives to a script is what the script's header asks for: the KEYS, and as many ARGV.

The doubles of a store check every command (`tests.checked_scripts`). Here every script is called once by the
code that calls it in production.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import pytest

from imc_cli.dead_letters import letters, retry
from imc_cli.migration.load import load
from imc_cli.migration.rows import Room
from imc_common import keys
from imc_common.keys import Keys, shard_of
from imc_common.metrics import Metrics
from imc_common.rooms.commands import COMMANDS
from imc_common.rooms.delivery_reports import AS_TEXT
from imc_common.rooms.event import CATCH_UP, MORE, PROBE, REPLAY, Event
from imc_common.rooms.history import hand_out
from imc_common.rooms.roster import notify_devices
from imc_common.scripts import Command
from imc_common.settings import Settings
from imc_common.shards.recoverer import Recoverer
from imc_edge.receiving.device_offers import DELAY_SECONDS
from imc_edge.redis_clock import RedisClock
from imc_worker.all_shards import AllShards
from imc_worker.automatic_answers import NEEDED
from imc_worker.dispatcher import Dispatcher
from imc_worker.janitor import Janitor
from imc_worker.prober import Prober
from tests.checked_scripts import CheckedScripts, check_call
from tests.fake_store import FakeStore
from tests.imc_edge.doubles import edge, message
from tests.imc_edge.receiving.test_registration import register
from tests.imc_edge.sending import Sending, entry
from tests.imc_worker.conftest import ALICE, BOB, ROOM, Bench
from tests.lua.header import header_of
from tests.lua.shard import SCRIPT_OF, SCRIPTS
from tests.patience import PATIENCE


async def worker() -> None:
    """A worker handles each type of entry, several messages together, and one that fails until it is dead."""
    bench, shard = Bench(max_attempts=3, history_max_messages=500), shard_of(ROOM, 4)
    arguments = {"user": BOB, "role": "admin", "text": "words"}
    for command in sorted(COMMANDS, key=lambda command: command.name != "create"):
        known = {name: text for name, text in arguments.items() if name in str(command.arguments)}
        if command.name == "set":
            known["text"] = "20"
        await bench.ask(command.name, ALICE, **known)
    await bench.ask("refused", ALICE, reason="unknown_command", command="#x")
    await bench.work()
    await bench.ask("create", ALICE)
    await bench.work()
    for kind in ("message", "message", "list", "message", "typing", "disposition"):
        await bench.ask(kind, ALICE)
    for _ in range(NEEDED[0][2]):  # Bob answers each message, so he is muted
        await bench.ask("message", ALICE)
        await bench.ask("message", BOB)
    for event, status, catch_up in (
        ("invited", "486", ""),
        ("message", "404", ""),
        ("message", "200", MORE),
        ("message", "200", PROBE),
        ("message", AS_TEXT, ""),
        ("joined", "404", ""),
    ):
        about = {"event": event, "status": status, "catch_up": catch_up}
        flat = [part for pair in about.items() for part in pair]
        await bench.put("type", "delivery_report", "from", BOB, "room", ROOM, *flat)
    device, dialog = f"{BOB};gr=x", '{"call_id":"c"}'
    kinds = ("open_conference", "enter_conference", "invite_device", "confirm_dialog", "subscribe")
    for kind in kinds:
        await bench.ask(kind, BOB, device=device, dialog=dialog, detail="600 0")
    for event, sender, status in (
        ("invite", BOB, "200"),
        ("invite", BOB, "488"),
        ("invite", BOB, "480"),
        ("notify", device, "200"),
        ("bye", device, "480"),
        ("bye", device, "200"),
        ("message", device, "480"),
    ):
        about = {"event": event, "status": status, "device": device, "dialog": dialog}
        flat = [part for pair in about.items() for part in pair]
        await bench.put("type", "delivery_report", "from", sender, "room", ROOM, *flat)
    await bench.ask("remove_absent", BOB)
    await bench.put("type", "user_online", "from", BOB, "room", BOB)
    await bench.put("type", "no such type", "from", ALICE, "room", ROOM)
    async with asyncio.timeout(PATIENCE):
        while await bench.left():
            await bench.work()
    await Prober(bench.store, bench.settings, bench.ownership.owned, lambda: 1.7e9, Metrics()).probe()
    await bench.store.run([("HSET", keys.devices(shard, ROOM), device, "device")])
    await Janitor(bench.store, bench.settings, bench.ownership.owned, lambda: 1.7e9, Metrics()).tidy(shard)
    item = Event("1-1", shard, CATCH_UP, ROOM, (BOB,))
    for each in (item, Event("1-1", shard, CATCH_UP, ROOM, (BOB,), catch_up=REPLAY)):
        assert await bench.store.run([hand_out(bench.store, bench.settings, each, now=1.7e9)]) == [b"gone"]
    assert await bench.store.run([notify_devices(bench.store, bench.settings, item)]) == [b"gone"]
    await Recoverer(
        bench.store, bench.consumer, bench.ownership.owned, keys.requests, 3.0, lambda shard, entry: False
    ).look()
    (letter,) = [each async for each in letters(bench.store, 16)]  # type: ignore[arg-type]
    assert (letter.shard, await retry(bench.store, letter)) == (shard, True)  # type: ignore[arg-type]
    await bench.ownership.release_all()
    await bench.store.close()


async def receiving_edge() -> None:
    """An edge accepts requests, alone and together, knows retransmissions, and counts what users do.

    It looks up who wants to enter a room.
    """
    store = FakeStore()
    limits = {"max_messages_per_second": 1, "max_message_burst": 8, "max_invitations_per_hour": 1}
    async with edge(store, **limits) as at:
        for number in range(40):
            at.acceptor.receive(message(Call_ID=f"together{number}"), _Nowhere())
        async with asyncio.timeout(PATIENCE):
            while not {"accept_many", "charge_invitation", "find_duplicate"} <= CheckedScripts.seen:
                for body in (b"hello", b"#invite bob"):
                    await at.ask(message(body, Call_ID="alone"))
                    await at.ask(message(body, Call_ID=f"alone{len(CheckedScripts.seen)}"))
                await asyncio.sleep(0.01)
        device = "<sip:alice@example.org;gr=urn:uuid:1>;text"
        await at.ask(message(b"", method="INVITE", Contact=device))
        room = "chat-000@example.org"
        members = Keys().members(keys.shard_of(room, at.settings.hash_size), room)
        await store.run([("HSET", members, "carol@example.org", "owner")])
        other = {"From": "<sip:carol@example.org>;tag=1", "Contact": "<sip:carol@example.org;gr=urn:uuid:1>"}
        await at.ask(message(b"", method="REFER", Refer_To="<sip:bob@example.org>", **other))
        specs = '+sip.instance="<urn:uuid:1>";+org.linphone.specs="groupchat"'
        await at.ask(register(f"<sip:c@192.0.2.7>;{specs}"))
        async with asyncio.timeout(PATIENCE):
            while "find_rooms" not in CheckedScripts.seen:
                at.monotonic += DELAY_SECONDS
                if at.acceptor.device_offers._waiting:
                    await at.acceptor.device_offers.go()
                await asyncio.sleep(0.01)
    await RedisClock(store, lambda: 0.0).read()  # type: ignore[arg-type]
    await store.close()


class _Nowhere:
    """A flow whose responses nobody reads."""

    transport = "udp"
    peer = ("192.0.2.1", 5062)

    def send(self, data: bytes, to: object = None) -> None: ...


async def sending_edge() -> None:
    """An edge delivers events, one that fails, one that cannot be rendered, and an INVITE of another edge."""
    async with Sending() as sending:
        for status in (200, 404):
            await sending.event(to=("bob@127.0.0.1:5071",))
            await sending.reply(sending.wires.sent[-1], status)
        await sending.event("no such event", to=("bob@127.0.0.1:5071",))
        await sending.feed("9-0", entry("invite", ("bob@127.0.0.1:5071",)), again=True)


async def command_line() -> None:
    """`imc import` writes a room."""
    store = FakeStore()
    room = Room("a@example.org", private=True, members={ALICE: "owner", BOB: "invited"})
    report = await load(store, Settings(), [room], 1)  # type: ignore[arg-type]
    assert report.created == 1
    await store.close()


async def test_every_script_is_called_as_its_header_asks() -> None:
    """By the code that calls it in production; no script is left over."""
    CheckedScripts.seen.clear()
    for caller in (worker, receiving_edge, sending_edge, command_line):
        await caller()
    assert set(SCRIPTS.sources) - CheckedScripts.seen == set()


@pytest.mark.parametrize(
    ("script", "script_keys", "args"),
    [
        ("acquire_lease", ["imc:{3}:lease:worker"], ["p"]),
        ("acquire_lease", ["imc:{3}:lease:worker"], ["p", 1, 2]),
        ("acquire_lease", ["imc:{3}:lease"], ["p", 1]),
        ("acquire_lease", ["imc:{3}:lease:worker", "imc:{3}:in"], ["p", 1]),
        ("settle_delivered", ["imc:{3}:in"], ["1-1"]),
        ("settle", ["imc:{3}:out", "imc:{3}:in", "imc:{3}:settled:1-1"], ["1-1", 1, 1, 1]),
        ("broadcast_messages", ["imc:{3}:in", "imc:{3}:out", "imc:{3}:history_off"], [64]),
        (
            "broadcast_messages",
            ["imc:{3}:in", "imc:{3}:out", "imc_rooms:{3}:r"],
            [64, 5000, 0, 0, "", "", ""],
        ),
    ],
)
def test_wrong_keys_or_arguments_are_found(script: str, script_keys: list[str], args: list[object]) -> None:
    """The check that this file relies on: too few, too many, in the wrong place, of the wrong kind."""
    with pytest.raises(AssertionError, match=script):
        check_call(script, script_keys, args)


class NoRooms:
    """A store that holds nothing."""

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """No set has members, no page has rooms."""
        return [[] if command[0] in {"ZRANGE", "SMEMBERS"} else 0 for command in commands]


REQUESTS = [*SCRIPT_OF, "help", "rooms", "refused", "user_online"]


@pytest.mark.parametrize(
    "kind",
    [
        *REQUESTS,
        "delivery_report of invited",
        "delivery_report of message",
        "delivery_report of joined",
        "delivery_report of more",
        "delivery_report of probe",
        "delivery_report of invite",
        "delivery_report of notify",
        "delivery_report of bye",
    ],
)
async def test_a_workers_keys_are_of_the_user_that_the_header_names(kind: str) -> None:
    """SENDER, USER or FROM: the patterns of the header, filled in, are the KEYS."""
    kind, _, event = kind.partition(" of ")
    catch_up = event if event in {MORE, PROBE} else ""
    status = "200" if catch_up else "404"
    fields = {
        "type": kind,
        "from": "SENDER",
        "room": "ROOM",
        "user": "USER",
        "event": "message" if catch_up else event,
        "status": status,
        "catch_up": catch_up,
    }
    flat = [text.encode() for pair in fields.items() for text in pair]
    dispatcher = Dispatcher(SCRIPTS, AllShards(NoRooms(), Keys(), 16), Settings(history_max_messages=500))
    (command,) = await dispatcher.commands([(3, b"1-1", flat)])
    assert not isinstance(command, Exception), command

    sha, count = str(command[1]), int(command[2])
    script = next(name for name, text in SCRIPTS.sources.items() if SCRIPTS.source_of(sha) == text)
    patterns = [
        explanation.partition("  ")[0].partition(" or ")[0]
        for _, explanation in header_of(script).rows["KEYS"]
    ]
    wanted = [re.sub(":FROM$", ":SENDER", pattern.replace("{S}", "{3}")) for pattern in patterns]
    assert list(command[3 : 3 + count]) == wanted
    check_call(script, wanted, command[3 + count :])
