"""The configuration `after.cfg` of the migration page: who gets through it, to where, and what it refuses."""

from __future__ import annotations

import asyncio
import secrets
import signal

import pytest
import redis
import sipmessage

from imc_common import keys
from imc_common.sip.auth import Challenge
from imc_common.sip.digest import authorization
from tests.integration.command import run
from tests.integration.peers.baresip import Baresip
from tests.integration.peers.conftest import MakeBaresip, MakeLinphone
from tests.integration.peers.linphone import Linphone
from tests.integration.peers.telephony import DOMAIN, PASSWORD, PROXY, Platform
from tests.integration.sip_user import SipUser
from tests.processes import wait_until

pytestmark = pytest.mark.integration


def new_room() -> str:
    """The address of a new room that the proxy relays to the edges."""
    return f"chat-{secrets.token_hex(4)}@{DOMAIN}"


async def log_in(user: SipUser, to: str, body: str, name: str, headers: str = "") -> sipmessage.Response:
    """Send as NAME@DOMAIN with the password that the proxy asks for; returns the final response."""
    sender = f"{name}@{DOMAIN}"
    challenged = await user.send(to, body, sender=sender)
    assert challenged.code == 407
    challenge = Challenge.parse(challenged.headers["Proxy-Authenticate"])
    value = authorization(challenge, name, PASSWORD, method="MESSAGE", uri=to, cnonce="c")
    return await user.send(to, body, sender=sender, headers=f"Proxy-Authorization: {value}\r\n{headers}")


def test_linphone_and_baresip_talk_in_a_room(linphone: MakeLinphone, baresip: MakeBaresip) -> None:
    """Both register and send with passwords."""
    room = new_room()
    alice, bob = linphone("alice"), baresip("bob", room)
    meet(alice, bob, room)
    bob.message("hello from baresip")
    alice.assert_gets("<bob@example.org>: hello from baresip")
    alice.say(f"sip:{room}", "hello from Linphone")
    bob.assert_gets("<alice@example.org>: hello from Linphone")


def test_baresip_refuses_cpim_once_and_gets_each_text_once(
    telephony: Platform, linphone: MakeLinphone, baresip: MakeBaresip
) -> None:
    """It responds 415 to the first message in CPIM. The text follows at once, and later ones come as text."""
    room = new_room()
    alice, bob = linphone("alice", cpim=True), baresip("bob", room)
    meet(alice, bob, room)
    alice.say(f"sip:{room}", "hello from Linphone")
    bob.assert_gets("<alice@example.org>: hello from Linphone")
    with redis.Redis.from_url(telephony.redis.url) as client:
        [members] = client.scan_iter(f"imc_members:*:{room}")
        wait_until(
            lambda: client.hget(members, f"bob@{DOMAIN}") == b"member text", "baresip's refusal remembered"
        )
    alice.say(f"sip:{room}", "hello again")
    bob.assert_gets("<alice@example.org>: hello again")
    bob.message("hello from baresip")
    alice.assert_gets("<bob@example.org>: hello from baresip")
    assert [text for text in bob.texts() if "hello" in text] == [
        "<alice@example.org>: hello from Linphone",
        "<alice@example.org>: hello again",
    ]
    log = bob.process.log()
    assert log.count("Content-Type: message/cpim") == 1
    assert "SIP/2.0 415 Unsupported Media Type" in log


def meet(alice: Linphone, bob: Baresip, room: str) -> None:
    """Alice creates the room and Bob joins it; neither has anything unread."""
    alice.say(f"sip:{room}", "#create")
    alice.assert_gets(r"\*\*\* You have created .*")
    bob.message("#join")
    alice.assert_gets(r"\*\*\* bob@example.org has joined.")
    bob.assert_gets(r"\*\*\* You have joined .*")


def test_imc_chat_shows_the_members_through_the_proxy(telephony: Platform, linphone: MakeLinphone) -> None:
    """The last step of the page: it registers and sends with the user's password."""
    room = new_room()
    alice = linphone("alice")
    alice.say(f"sip:{room}", "#create")
    alice.say(f"sip:{room}", "#add bob")
    command = ["chat", f"sip:bob@{DOMAIN}", "--via", f"{PROXY}:{telephony.port}", "--login"]
    done = run(*command, "--room", f"sip:{room}", "--wait", "10", text=f"{PASSWORD}\n#list\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"alice@{DOMAIN} (owner)" in done.stdout


def test_registrations_survive_a_restart_of_the_proxy(
    telephony: Platform, linphone: MakeLinphone, baresip: MakeBaresip
) -> None:
    """They are in its database, and rooms are not in the proxy at all."""
    room = new_room()
    alice, bob = linphone("alice"), baresip("bob", room)
    alice.say(f"sip:{room}", "#create")
    bob.message("#join")
    bob.assert_gets(r"\*\*\* You have joined .*")
    telephony.stop_proxy()
    telephony.start_proxy("after.cfg")
    telephony.wait_for_edges(2)
    alice.say(f"sip:{room}", "after the restart")
    bob.assert_gets(".*after the restart")


def test_a_member_who_unregisters_stays_a_member(linphone: MakeLinphone, baresip: MakeBaresip) -> None:
    """The proxy responds 480 for them; back again, they get messages and write without a new `#join`."""
    room = new_room()
    alice, bob = linphone("alice"), baresip("bob", room)
    alice.say(f"sip:{room}", "#join")
    bob.message("#join")
    alice.assert_gets_eventually(r".*bob@example.org has joined.*")
    alice.leave()
    bob.message("nobody hears this")
    bob.message("#list")
    bob.assert_gets_eventually(".*alice@example.org.*")
    alice.come_back()

    def is_heard() -> bool:  # the first ones may come before the edges know that she is back
        bob.message("welcome back")
        return any(text.endswith("welcome back") for text in alice.texts())

    wait_until(is_heard, "alice gets messages again")
    alice.say(f"sip:{room}", "back again")
    bob.assert_gets_eventually(".*back again")


def test_edges_are_told_who_registers_and_who_leaves(telephony: Platform, linphone: MakeLinphone) -> None:
    """The proxy sends them a copy of each REGISTER."""
    heard: list[bytes] = []
    with redis.Redis.from_url(telephony.redis.url) as db, db.pubsub() as channel:
        channel.subscribe(keys.PRESENCE)

        def is_told(word: bytes) -> bool:
            message = channel.get_message(ignore_subscribe_messages=True, timeout=0.2)
            heard.extend([message["data"]] if message else [])
            return word + b" carol@example.org" in heard

        carol = linphone("carol")
        wait_until(lambda: is_told(b"online"), "the news that carol is there")
        carol.leave()
        wait_until(lambda: is_told(b"offline"), "the news that carol has left")


async def test_a_room_is_closed_to_who_is_not_authenticated(telephony: Platform) -> None:
    """Neither without a password, nor as a user of another domain, whom the proxy cannot know."""
    mallory = await SipUser.open("mallory", telephony.address)
    room = f"sip:{new_room()}"
    assert (await mallory.send(room, "#create", sender=f"alice@{DOMAIN}")).code == 407
    assert (await mallory.send(room, "#create", sender="alice@example.net")).code == 403
    assert (await mallory.send(room, "#create", sender=room[4:])).code == 407, "a room has no password"
    mallory.close()


async def test_the_proxy_asserts_who_was_authenticated(telephony: Platform, linphone: MakeLinphone) -> None:
    """A P-Asserted-Identity that the user sent is removed. BOB, whom MySQL does not tell from bob, is bob."""
    room = new_room()
    alice = await asyncio.to_thread(linphone, "alice")
    bob = await SipUser.open("bob", telephony.address)
    await asyncio.to_thread(alice.say, f"sip:{room}", "#create")
    assert (await log_in(bob, f"sip:{room}", "#join", "bob")).code == 202
    forged = "P-Asserted-Identity: <sip:alice@example.org>\r\n"
    assert (await log_in(bob, f"sip:{room}", "it is me", "bob", forged)).code == 202
    await asyncio.to_thread(alice.assert_gets_eventually, "<bob@example.org>: it is me")
    assert (await log_in(bob, f"sip:{room}", "in capitals", "BOB")).code == 202
    await asyncio.to_thread(alice.assert_gets_eventually, "<bob@example.org>: in capitals")
    bob.close()


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("dave@example.org", 480),
        ("erin@example.org", 404),
        ("chat-000@example.org", 482),
        ("dave@192.0.2.1", 403),
    ],
)
async def test_deliveries_go_only_to_registered_users(telephony: Platform, target: str, status: int) -> None:
    """An edge gets 480 for a subscriber without a phone, and 404 for somebody who is no subscriber."""
    loop = asyncio.get_running_loop()
    edge = SipUser("edge", telephony.address)
    edge._transport, _ = await loop.create_datagram_endpoint(lambda: edge, local_addr=("127.0.0.2", 0))
    request = edge.request(f"sip:{target}", "hello", sender="chat-000@example.org")
    response = await edge._transact(request.replace(b"UDP 127.0.0.1", b"UDP 127.0.0.2"))
    assert response.code == status
    edge.close()


async def test_only_edges_deliver_without_a_password(telephony: Platform) -> None:
    """A delivery from elsewhere is challenged like any other MESSAGE."""
    mallory = await SipUser.open("mallory", telephony.address)
    response = await mallory.send("sip:dave@example.org", "hello", sender="chat-000@example.org")
    assert response.code == 407
    mallory.close()


def test_a_room_that_is_a_member_of_a_room_makes_no_loop(telephony: Platform, linphone: MakeLinphone) -> None:
    """The proxy refuses what a room says to a room."""
    first, second = new_room(), new_room()
    alice = linphone("alice")
    for room, other in ((first, second), (second, first)):
        alice.say(f"sip:{room}", "#create")
        alice.assert_gets(r"\*\*\* You have created .*")
        alice.say(f"sip:{room}", f"#add {other}")
        alice.assert_gets(rf"\*\*\* .*{other}.*")
    alice.say(f"sip:{first}", "hello")
    alice.say(f"sip:{first}", "#list")
    alice.assert_gets(r".*Members.*")


def test_the_proxy_uses_the_other_edge_when_one_dies_or_drains(
    telephony: Platform, linphone: MakeLinphone
) -> None:
    """Every text is accepted; the sender need not send it again."""
    room = f"sip:{new_room()}"
    alice = linphone("alice")
    alice.say(room, "#create")
    for host, number in (("127.0.0.2", signal.SIGKILL), ("127.0.0.3", signal.SIGTERM)):
        edge = telephony.edges[host]
        edge.end(number)
        for line in range(6):
            alice.say(room, f"line {line} without {host}")
        telephony.wait_for_edges(1)
        edge.start()
        telephony.wait_for_edges(2)


async def test_users_get_503_when_no_edge_is_in_service(telephony: Platform) -> None:
    """With Retry-After; and the proxy uses the edges again when they are back."""
    bob = await SipUser.open("bob", telephony.address)
    room = f"sip:{new_room()}"
    for edge in telephony.edges.values():
        edge.end(signal.SIGKILL)
    response = await log_in(bob, room, "#create", "bob")
    assert (response.code, response.headers["Retry-After"]) == (503, "5")
    for edge in telephony.edges.values():
        edge.start()
    await asyncio.to_thread(telephony.wait_for_edges, 2)
    assert (await log_in(bob, room, "#create", "bob")).code == 202
    bob.close()
