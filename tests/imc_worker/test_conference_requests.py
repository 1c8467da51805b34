"""Requests and reports of conferences, from the in-stream through the dispatcher."""

from __future__ import annotations

from imc_common import client_devices, keys
from imc_common.keys import Keys, shard_of
from tests.imc_worker.conftest import ALICE, BOB, ROOM, Bench

SHARD = shard_of(ROOM, 4)
PHONE, BOBS = f"{ALICE};gr=urn:uuid:1", f"{BOB};gr=urn:uuid:2"


async def values(bench: Bench, key: str) -> dict[str, str]:
    (flat,) = await bench.store.run([("HGETALL", key)])
    texts = [part.decode() for part in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


async def report(bench: Bench, event: str, recipient: str, status: str, **fields: str) -> None:
    """A delivery has ended so, as an edge writes it."""
    about = {"type": "delivery_report", "from": recipient, "room": ROOM, "event": event, "status": status}
    await bench.put(*(part for pair in (about | fields).items() for part in pair))
    await bench.work()


async def test_a_device_that_accepts_its_invite_is_a_recipient_of_its_own() -> None:
    """Its failures make it away, not its user; and it is handed what it missed."""
    bench = Bench(history_max_messages=500)
    members, devices = Keys().members(SHARD, ROOM), keys.devices(SHARD, ROOM)
    await bench.ask(
        "open_conference", ALICE, device=PHONE, dialog='{"call_id":"a"}', detail=BOB, text="Lunch"
    )
    await bench.work()
    assert await bench.events() == [("invite", BOB)]
    await report(bench, "invite", BOB, "200", device=BOBS, dialog='{"call_id":"b"}', user=ALICE)
    assert await values(bench, members) == {ALICE: "owner devices", BOB: "member devices"}
    assert await values(bench, devices) == {PHONE: "device", f"{BOBS};aor": "device away"}
    await bench.ask("message", BOB, device=BOBS, cpim=True)
    await bench.work()
    assert ("message", PHONE) in await bench.events()
    entry = (await bench.stream(Keys().history(SHARD, ROOM)))[-1]
    assert entry["device"] == BOBS
    ((last,),) = await bench.store.run([("XREVRANGE", Keys().history(SHARD, ROOM), "+", "-", "COUNT", 1)])
    await report(bench, "message", PHONE, "480", history_id=last[0].decode(), user=BOB)
    assert (await values(bench, devices))[PHONE] == "device away"
    assert (await values(bench, members))[ALICE] == "owner devices"
    (away,) = await bench.store.run([("SMEMBERS", keys.away_rooms(SHARD, ALICE))])
    assert set(away) == {f"{ROOM} {PHONE}".encode()}
    await bench.store.close()


async def test_the_limit_of_rooms_holds_for_conferences() -> None:
    """Over all shards."""
    bench = Bench(max_rooms_per_owner=1)
    await bench.ask("create", ALICE, "other@example.org")
    await bench.work()
    await bench.ask("open_conference", ALICE, device=PHONE, dialog='{"call_id":"a"}', detail=BOB)
    await bench.work()
    assert [name for name, _ in await bench.events()][-2:] == ["refused", "bye"]
    await bench.store.close()


async def register(bench: Bench, device: str) -> None:
    """An edge has heard that this device shows group chats, and has offered it all rooms."""
    await bench.store.run([*client_devices.note(device), *client_devices.mark(device, 0)])


async def is_offered_all(bench: Bench, device: str) -> bool:
    """What an edge finds with the next REGISTER."""
    found, _ = client_devices.offered(await bench.store.run(client_devices.note(device)))
    return found.is_complete


async def test_whose_client_shows_group_chats_is_asked_by_invite_after_a_command() -> None:
    """And each device is searched for again when it registers, as it may be off now."""
    bench = Bench(history_max_messages=500)
    await register(bench, BOBS)
    await bench.ask("create", ALICE)
    await bench.ask("add", ALICE, user=BOB)
    await bench.work()
    assert ("invite", BOB) in await bench.events()
    assert not await is_offered_all(bench, BOBS)
    (nothing,) = await bench.store.run([("EXISTS", keys.client_devices(keys.user_shard(ALICE), ALICE))])
    assert nothing == 0, "who has no such client costs nothing"
    await bench.store.close()


async def test_whoever_is_in_the_list_of_a_new_conference_is_searched_for_again() -> None:
    """And the creator's other devices are asked."""
    bench = Bench(max_rooms_per_owner=5)
    tablet = f"{ALICE};gr=urn:uuid:9"
    for device in (PHONE, tablet, BOBS):
        await register(bench, device)
    await bench.ask("open_conference", ALICE, device=PHONE, dialog='{"call_id":"a"}', detail=BOB)
    await bench.work()
    assert await bench.events() == [("invite", BOB), ("invite", tablet)]
    assert not await is_offered_all(bench, BOBS)
    assert not await is_offered_all(bench, tablet)
    await bench.store.close()


async def test_without_a_conference_factory_nobody_is_looked_up() -> None:
    """Then there are no group chats."""
    bench = Bench(conference_factory="")
    await register(bench, BOBS)
    await bench.ask("create", ALICE)
    await bench.ask("add", ALICE, user=BOB)
    await bench.work()
    assert "invite" not in [name for name, _ in await bench.events()]
    assert await is_offered_all(bench, BOBS)
    await bench.store.close()
