"""Group chats with real processes: two edges, two workers, Redis; devices on sockets of the test."""

from __future__ import annotations

import asyncio
import secrets
import time
import zlib
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.chaos.conference import actions
from tests.chaos.conference.actions import DOMAIN
from tests.imc_common.bodies.corpus import LIME_TYPE, lime
from tests.integration.command import run
from tests.integration.group_devices import CALM, Device, Devices, shown, until
from tests.integration.service import Service, service
from tests.integration.test_cpim import receipt
from tests.ports import free_port

pytestmark = pytest.mark.integration

PROXY_PORT, MI_PORT = free_port(), free_port()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """It sends everything to the proxy of the test that runs."""
    settings = {
        "outbound_proxy": f"sip:127.0.0.1:{PROXY_PORT};transport=udp",
        "mi_listen": f"127.0.0.1:{MI_PORT}",
        "history_max_messages": "500",
        "max_invitations_per_hour": "0",
        "max_invitations_per_target": "0",
        "max_commands_per_minute": "0",
        "max_messages_per_second": "0",
        "max_body": "65535",
    }
    folder = tmp_path_factory.mktemp("group-devices")
    with service(folder, "redis", settings, edges=2, workers=2) as started:
        yield started


@pytest.fixture
async def devices(running: Service) -> AsyncIterator[Devices]:
    """The users of one test."""
    made = await Devices.open(running.ports, PROXY_PORT)
    yield made
    await made.close()


@pytest.fixture
def name() -> str:
    """A part of names that no other test has."""
    return secrets.token_hex(3)


async def mi(*words: str) -> str:
    """The output of `imc mi`, which must succeed."""
    done = await asyncio.to_thread(run, "mi", "--mi-listen", f"127.0.0.1:{MI_PORT}", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def public_room(devices: Devices, name: str, owner: str) -> str:
    """A room that a user has made by a command, in which anybody may join."""
    room = f"room-{name}@{DOMAIN}"
    await devices.say(owner, room, "#create")
    return room


async def test_a_change_reaches_every_subscriber_however_it_is_made(devices: Devices, name: str) -> None:
    """By text, MI and REFER; each user has two devices, one for each edge."""
    alice, bob = f"alice-{name}", f"bob-{name}"
    every = [await devices.device(user, edge, edge) for user in (alice, bob) for edge in (0, 1)]
    phone = every[0]
    carol, dave, erin, frank = [await devices.telephone(f"{each}-{name}") for each in "cdef"]
    room = await public_room(devices, name, alice)
    await devices.say(alice, room, f"#add {actions.aor(bob)}", 1)
    here = {alice, bob}
    await shown(room, here, *every)

    async def is_now(*users: str) -> None:
        await shown(room, {*here, *users}, *every)

    await devices.say(alice, room, f"#add {actions.aor(carol)}", 0)
    await is_now(carol)
    await devices.say(dave, room, "#join", 1)
    await is_now(carol, dave)
    await mi("imc_add_member", room, f"{erin}@{DOMAIN}")
    await is_now(carol, dave, erin)
    assert await actions.refer(phone, room, f"<{actions.aor(frank)}>;text") == 202
    await is_now(carol, dave, erin, frank)

    assert await actions.refer(phone, room, f"<{actions.aor(carol)}>;text;admin=true") == 202
    await devices.say(alice, room, f"#modify {actions.aor(dave)} admin")
    await mi("imc_set_role", room, f"{erin}@{DOMAIN}", "admin")
    admins = {alice, carol, dave, erin}
    for device in every:
        await until(
            lambda device=device: (
                {  # type: ignore[misc]
                    user for user, entry in device.users_in(room).items() if entry.is_admin
                }
                == admins
            ),
            lambda device=device: device.users_in(room),  # type: ignore[misc]
        )

    assert await actions.refer(phone, room, f"<{actions.aor(carol)};method=BYE>;text") == 202
    await is_now(dave, erin, frank)
    await mi("imc_remove_member", room, f"{dave}@{DOMAIN}")
    await is_now(erin, frank)
    await devices.say(alice, room, f"#remove {actions.aor(erin)}", 1)
    await is_now(frank)
    await devices.say(frank, room, "#exit", 0)
    await is_now()
    await devices.say(bob, room, "#exit", 1)
    here = {alice}
    await shown(room, here, *every[:2])
    await shown(room, set(), *every[2:])


@pytest.mark.parametrize("status", [486, 603, 600, 480, 408, pytest.param(0, marks=pytest.mark.slow)])
async def test_who_does_not_accept_an_invitation_catches_up_later(
    devices: Devices, name: str, status: int
) -> None:
    """Declined, busy, not there, or silent: the user is a member, and gets what was said since."""
    alice = await devices.device(f"alice-{name}")
    bob = await devices.device(f"bob-{name}")
    bob.absence = (status, 0.0)
    room = await actions.create(alice, "later", [bob.user])
    await shown(room, {alice.user, bob.user}, alice)
    place = alice.place(room)
    for number in range(3):
        assert await actions.say(alice, place, f"missed-{number}") in CALM
    assert bob.log == []
    bob.absence = None
    assert await actions.register(bob, 3600) == 200
    await shown(room, {alice.user, bob.user}, bob)
    assert await actions.say(alice, place, "welcome") in CALM
    expected = ["missed-0", "missed-1", "missed-2", "welcome"]
    await until(lambda: [line.what for line in bob.log] == expected, lambda: bob.log)


def ephemeral(device: Device, room: str, text: str) -> bytes:
    """A message that vanishes an hour after it was read, as liblinphone 5.1 sends it."""
    return (
        f"From: <{device.gruu}>\r\nTo: <sip:{room}>\r\nDateTime: 2026-11-29T01:33:53Z\r\n"
        "NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: vanishes\r\n"
        "imdn.Disposition-Notification: positive-delivery, negative-delivery, display\r\n"
        "NS: linphone <tag:linphone.org,2020:params:groupchat>\r\nlinphone.Ephemeral-Time: 3600\r\n\r\n"
        f"Content-Type: text/plain\r\nContent-Length: {len(text)}\r\n\r\n{text}"
    ).encode()


def messages(device: Device) -> list[tuple[str, bytes]]:
    """Type and body of each message that it got."""
    return [(each.get("content-type"), each.body) for each in device.requests_of("MESSAGE")]


async def test_what_linphone_marks_passes_through_as_it_came(devices: Devices, name: str) -> None:
    """A room of two, ephemeral and encrypted messages: byte for byte, also later from the history."""
    alice = await devices.device(f"alice-{name}")
    bob, tablet = await devices.device(f"bob-{name}"), await devices.device(f"bob-{name}", 1)
    carol = await devices.telephone(f"carol-{name}")
    marks = {"One-To-One-Chat-Room": "true", "End-To-End-Encrypted": "true", "Ephemerable": "true"}
    room = await actions.create(alice, "", [bob.user], list(marks.items()))
    await shown(room, {alice.user, bob.user}, alice, bob, tablet)
    invited = bob.requests_of("INVITE")[0]
    assert {mark: invited.get(mark.lower()) for mark in marks} == marks
    await devices.say(alice.user, room, f"#add {actions.aor(carol)}")
    await shown(room, {alice.user, bob.user, carol}, alice, bob, tablet)
    tablet.absence = (480, 0.0)

    encrypted = lime(alice.gruu, bob.gruu, tablet.gruu, message_id=f"m-{name}")
    vanishing = ephemeral(alice, room, "gone soon")
    sent = [(LIME_TYPE, encrypted), ("message/cpim", vanishing)]
    packed = zlib.compress(encrypted)
    assert await devices.message(alice.gruu, room, LIME_TYPE, packed, encoding="deflate") in CALM
    assert await devices.message(alice.gruu, room, "message/cpim", vanishing) in CALM
    await until(lambda: messages(bob) == sent, lambda: messages(bob))
    tablet.absence = None
    assert await actions.register(tablet, 3600) == 200
    await until(lambda: messages(tablet) == sent, lambda: messages(tablet))
    said = [each for each in devices.proxy.texts[carol] if not each.get("auto-submitted")]
    assert [(each.get("content-type"), each.body) for each in said][:1] == [(LIME_TYPE, encrypted)]

    read = receipt(f"m-{name}", "displayed")
    body = f"From: <{bob.gruu}>\r\nTo: <sip:{room}>\r\n\r\nContent-Type: message/imdn+xml\r\n\r\n{read}"
    assert await devices.message(bob.gruu, room, "message/cpim", body.encode()) in CALM
    await until(lambda: any(read.encode() in text for _, text in messages(alice)), lambda: messages(alice))


async def test_an_encrypted_message_in_another_name_is_refused(devices: Devices, name: str) -> None:
    """Its author is in clear."""
    alice = await devices.device(f"alice-{name}")
    bob = await devices.device(f"bob-{name}")
    room = await actions.create(alice, "encrypted", [bob.user])
    await shown(room, {alice.user, bob.user}, alice, bob)
    assert await devices.message(alice.gruu, room, LIME_TYPE, lime(bob.gruu, alice.gruu)) == 403


SUBSCRIBERS, JOINS_PER_SECOND, SECONDS = 200, 20, 3


@pytest.mark.slow
async def test_many_who_join_at_once_are_told_of_together(devices: Devices, name: str) -> None:
    """200 devices get one NOTIFY in a second at most, whatever happens in it, and all show the same."""
    room = await public_room(devices, name, f"owner-{name}")
    phones = [await devices.device(f"u{number}-{name}", 0, number % 2) for number in range(SUBSCRIBERS)]
    async with asyncio.TaskGroup() as group:
        for phone in phones:
            group.create_task(devices.say(phone.user, room, "#join"))
    members = {f"owner-{name}", *(phone.user for phone in phones)}
    await shown(room, members, *phones)
    before = [phone.places[room].roster.version for phone in phones]
    counted = [len(phone.requests_of("NOTIFY")) for phone in phones]

    begun = time.monotonic()
    joining = [f"new{number}-{name}" for number in range(JOINS_PER_SECOND * SECONDS)]
    async with asyncio.TaskGroup() as group:
        for user in joining:
            group.create_task(devices.say(user, room, "#join"))
            await asyncio.sleep(1 / JOINS_PER_SECOND)
    await shown(room, members | set(joining), *phones)
    most = 2 * (time.monotonic() - begun + 1)  # one each second, and another one if it was late
    for phone, version, count in zip(phones, before, counted, strict=True):
        roster = phone.places[room].roster
        assert roster.findings == []
        told = roster.version - version
        assert 1 <= told <= most, f"{told} versions in {most / 2 - 1} s"
        assert len(phone.requests_of("NOTIFY")) - count <= most
    assert len({str(sorted(phone.users_in(room).items())) for phone in phones}) == 1
