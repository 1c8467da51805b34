"""`compose.yaml` on a real Docker engine: run by `make test-compose`, skipped without an engine.

The images are built from this checkout, on base images that the engine has or can pull.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.command import run
from tests.integration.compose.stack import PATIENCE, Stack, docker
from tests.integration.peers.group_linphone import GroupLinphone
from tests.integration.sip_user import SipUser
from tests.processes import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.compose, pytest.mark.timeout(1200)]

LINES = 20


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Two edges and two workers behind the balancer; removed afterwards with their volumes."""
    stack = Stack()
    try:
        stack.up("--build")
        yield stack
    finally:
        stack.compose("down", "--volumes", "--remove-orphans")


class Pair:
    """alice and bob in a new room, registered at the balancer through Docker's NAT."""

    def __init__(self, alice: SipUser, bob: SipUser) -> None:
        self.alice = alice
        self.bob = bob
        self.room = f"sip:room-{secrets.token_hex(4)}@example.org"

    async def register(self) -> None:
        """Both register their contacts at the balancer."""
        for user in (self.alice, self.bob):
            where = f"sip:{user.address}"
            headers = f"Contact: <{where}>;expires=600\r\n"
            response = await user.send(where, b"", method="REGISTER", headers=headers)
            assert response.code == 200

    async def meet(self) -> None:
        """Register, create the room, join it and read all notices."""
        await self.register()
        await self.alice.say(self.room, "#create")
        await self.alice.assert_gets(".*You have created.*", PATIENCE)
        await self.bob.say(self.room, "#join")
        await self.alice.assert_gets(".*has joined.*", PATIENCE)
        await self.bob.assert_gets(".*You have joined.*", PATIENCE)

    async def _say(self, text: str) -> None:
        """Send until it is accepted: a busy machine may cause a 503."""
        request = self.alice.request(self.room, text)
        async with asyncio.timeout(PATIENCE):
            while True:
                response = self.alice.transmit(request)
                if not (await asyncio.wait([response], timeout=1))[0]:
                    continue
                if response.result().code == 202:
                    return
                assert response.result().code == 503, response.result()
                await asyncio.sleep(1)
                request = self.alice.request_with_new_branch(request)

    async def assert_lines_arrive(self, word: str, work: Awaitable[object] | None = None) -> None:
        """alice sends lines, at least until the work is done; all are accepted and reach bob in order."""
        working = asyncio.ensure_future(work or asyncio.sleep(0))
        said = 0
        while said < LINES or not working.done():
            await self._say(f"{word} {said}")
            said += 1
            await asyncio.sleep(0.3)  # within the limit of one user
        await working
        for number in range(said):
            await self.bob.assert_gets(f".*: {word} {number}", PATIENCE)
        await self.bob.assert_gets_nothing()


@pytest.fixture
async def pair(stack: Stack) -> AsyncIterator[Pair]:
    """alice and bob in a room."""
    token = secrets.token_hex(4)  # new names, since the registrar remembers the users of other tests
    users = [await SipUser.open(f"{name}-{token}", ("127.0.0.1", stack.port)) for name in ("alice", "bob")]
    pair = Pair(*users)
    try:
        await pair.meet()
        yield pair
    finally:
        for user in users:
            user.close()


def test_the_demo_conversation_through_the_balancer(stack: Stack) -> None:
    """From outside, through the published port."""
    ended = run("demo", "--via", f"127.0.0.1:{stack.port}")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_linphones_have_a_group_chat_through_the_balancer(stack: Stack, tmp_path: Path) -> None:
    """With two edges, over TCP and UDP: INVITE to the factory, NOTIFY of the roster, messages, receipts."""
    assert stack.edges_in_service() == 2
    proxy = f"sip:127.0.0.1:{stack.port};transport="
    alice, bob = (
        GroupLinphone(tmp_path, name, proxy + transport, "unused", domain="example.org")
        for name, transport in (("alice", "tcp"), ("bob", "udp"))
    )
    with ExitStack() as phones:
        for phone in (alice, bob):
            phone.start()
            phones.callback(phone.stop)
        room = alice.create("in containers", bob.address)
        alice.wait_for_room(room, bob=False)
        bob.wait_for_room(room, alice=True)
        alice.write(room, "hello from alice")
        bob.wait_for_text(room, "hello from alice", alice.address)
        bob.mark_as_read(room)
        alice.assert_is("displayed", "hello from alice")
        bob.write(room, "and from bob")
        alice.wait_for_text(room, "and from bob", bob.address)
        bob.leave_room(room)
        alice.wait_for_room(room)


async def test_a_user_over_tcp_gets_deliveries_on_the_same_connection(stack: Stack) -> None:
    """The user registers and creates a room."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    address = f"tess@127.0.0.1:{writer.get_extra_info('sockname')[1]}"

    def send(number: int, method: str, uri: str, headers: str, body: str = "") -> None:
        token = secrets.token_hex(8)
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/TCP {address.partition('@')[2]};branch=z9hG4bK{token};rport",
            *("Max-Forwards: 70", f"From: <sip:{address}>;tag=t", f"To: <{uri}>", f"Call-ID: {token}"),
            *(f"CSeq: {number} {method}", headers, f"Content-Length: {len(body)}"),
        ]
        writer.write("\r\n".join([*lines, "", body]).encode())

    async def assert_comes(words: str) -> None:
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(words.encode())

    send(1, "REGISTER", f"sip:{address}", f"Contact: <sip:{address};transport=tcp>")
    await assert_comes("SIP/2.0 200 ")
    send(2, "MESSAGE", f"sip:room-{secrets.token_hex(4)}@example.org", "Content-Type: text/plain", "#create")
    await assert_comes("SIP/2.0 202 ")
    await assert_comes("*** You have created")
    writer.close()


def test_containers_run_without_privileges_and_only_the_balancer_publishes_ports(stack: Stack) -> None:
    """No root user, no capabilities, a read-only root file system."""
    for service in ("edge", "worker", "lb"):
        for state in json.loads(docker("inspect", *stack.containers(service))):
            assert state["HostConfig"]["ReadonlyRootfs"]
            assert state["HostConfig"]["CapDrop"] == ["ALL"]
            assert state["Config"]["User"] not in {"", "root", "0"}
            published = [
                at["HostIp"]
                for all_at in (state["HostConfig"]["PortBindings"] or {}).values()
                for at in all_at
            ]
            assert published == (["127.0.0.1"] * 2 if service == "lb" else [])


def test_a_module_in_the_working_folder_is_not_imported(stack: Stack) -> None:
    """`/tmp` can be written to; neither the console entry nor the health check imports from there."""
    trap = "import os; os._exit(66)"
    for command in ("imc check", "python3 -I -m imc_common.probe", "python3 -m imc_common.probe"):
        stack.run_in(
            "edge",
            "sh",
            "-c",
            f"cd /tmp && echo '{trap}' > structlog.py && cp structlog.py http.py && {command}",
        )
    stack.run_in("edge", "sh", "-c", "rm /tmp/structlog.py /tmp/http.py")


def test_rooms_are_administered_in_a_workers_container(stack: Stack) -> None:
    """`docker compose exec worker imc mi` makes a room, adds a member, lists and destroys it."""
    room, alice, bob = (f"sip:{name}-{secrets.token_hex(4)}@example.org" for name in ("room", "alice", "bob"))

    def mi(*words: str) -> dict[str, object]:
        said: dict[str, object] = json.loads(stack.run_in("worker", "imc", "mi", "--json", *words))
        return said

    stack.run_in("worker", "imc", "mi", "imc_create_room", room, alice)
    stack.run_in("worker", "imc", "mi", "imc_add_member", room, bob)
    assert mi("imc_list_members", room)["MEMBERS"] == [alice, bob]
    stack.run_in("worker", "imc", "mi", "imc_destroy_room", room)
    assert room not in stack.run_in("worker", "imc", "mi", "imc_list_rooms")


def test_redis_is_configured_to_lose_nothing(stack: Stack) -> None:
    """The append-only file is on, and nothing is evicted."""
    assert stack.redis("config", "get", "appendonly").split() == ["appendonly", "yes"]
    assert stack.redis("config", "get", "maxmemory-policy").split()[1] == "noeviction"


@pytest.mark.parametrize("service", ["edge", "worker"])
async def test_a_killed_container_loses_no_message(stack: Stack, pair: Pair, service: str) -> None:
    """Accepted messages are delivered, the conversation continues, and the next `up` replaces it."""
    victim = stack.containers(service)[0]
    await pair.assert_lines_arrive("while it dies", asyncio.to_thread(docker, "kill", victim))
    assert victim not in stack.containers(service)
    await pair.assert_lines_arrive("while another comes", asyncio.to_thread(stack.up))
    assert len(stack.containers(service)) == 2
    await pair.assert_lines_arrive("together again")


async def test_scaling_up_and_down_loses_no_message(stack: Stack, pair: Pair) -> None:
    """`--scale` alone: the balancer finds new edges, and those that stop finish their deliveries."""
    more = asyncio.to_thread(stack.up, "--scale", "edge=4", "--scale", "worker=4")
    await pair.assert_lines_arrive("while it grows", more)
    assert stack.redis("zcard", "imc:edges") == "4"
    assert stack.redis("zcard", "imc:workers") == "4"
    await pair.assert_lines_arrive("with four")
    fewer = asyncio.to_thread(stack.up, "--scale", "edge=1", "--scale", "worker=1")
    await pair.assert_lines_arrive("while it shrinks", fewer)
    await pair.assert_lines_arrive("with one")


async def test_rooms_survive_down_and_up(stack: Stack, pair: Pair) -> None:
    """`down` keeps the volume, so the members are still in the room after the next `up`."""
    await asyncio.to_thread(stack.compose, "down")
    await asyncio.to_thread(stack.up)
    await pair.register()
    await pair.assert_lines_arrive("as before")


def test_stopped_processes_drain_and_exit_with_status_0(stack: Stack) -> None:
    """SIGTERM ends every process within the grace period."""
    doomed = stack.containers("edge", "worker")
    stack.compose("stop", "edge", "worker")
    wait_until(lambda: not stack.containers("edge", "worker"), "all stopped", PATIENCE)
    assert {state["State"]["ExitCode"] for state in json.loads(docker("inspect", *doomed))} == {0}
