"""The pods of `deploy/kubernetes/imc.yaml` on a real Docker engine: run by `make test-compose`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator

import pytest

from tests.integration.compose.pods import Pods, docker
from tests.integration.compose.stack import PATIENCE
from tests.integration.login import PASSWORD, credentials
from tests.integration.sip_user import SipUser

pytestmark = [pytest.mark.integration, pytest.mark.compose, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def pods() -> Iterator[Pods]:
    """Everything in the manifest, and a Redis."""
    running = Pods()
    try:
        running.start()
        yield running
    finally:
        running.stop()


async def login(pods: Pods, name: str) -> SipUser:
    """A phone of a new user with a password, registered."""
    address = f"{name}@example.org"
    add = f"echo {PASSWORD} | imc user add {address}"
    pods.run_in("imc-edge", "sh", "-c", add)
    phone = await SipUser.open(name, ("127.0.0.1", pods.port))
    contact = f"Contact: <sip:{name}@127.0.0.1:{phone.port}>\r\n"
    registered = await phone.send(f"sip:{address}", b"", method="REGISTER", headers=contact, sender=address)
    assert registered.code == 200
    return phone


async def say(phone: SipUser, room: str, text: str) -> None:
    """Send a MESSAGE with the user's password."""
    sender = f"{phone.name}@example.org"
    challenged = await phone.send(room, text, sender=sender)
    assert challenged.code == 401
    headers = credentials(challenged, phone.name, room, "SHA-256")
    assert (await phone.send(room, text, headers=headers, sender=sender)).code == 202


async def test_phones_talk_in_a_room(pods: Pods) -> None:
    """With passwords, through the balancer, both ways: what a phone is sent arrives."""
    token = secrets.token_hex(4)
    room = f"sip:room-{token}@example.org"
    alice, bob = [await login(pods, f"{name}-{token}") for name in ("alice", "bob")]
    await say(alice, room, "#create")
    await alice.assert_gets(r"\*\*\* You .*", PATIENCE)
    await say(bob, room, "#join")
    for phone in (alice, bob):
        await phone.assert_gets(r"\*\*\* .*joined.*", PATIENCE)
    await say(alice, room, "hello")
    await bob.assert_gets(f"<alice-{token}@example.org>: hello", PATIENCE)
    for phone in (alice, bob):
        phone.close()


async def test_without_a_password_nothing_is_said(pods: Pods) -> None:
    """The edges ask, through the balancer."""
    phone = await SipUser.open("eve", ("127.0.0.1", pods.port))
    assert (await phone.send("sip:tea@example.org", "#create")).code == 401
    phone.close()


def test_rooms_are_administered_in_a_workers_pod(pods: Pods) -> None:
    """``kubectl exec deployment/imc-worker -- imc mi``."""
    room = f"sip:room-{secrets.token_hex(4)}@example.org"
    pods.run_in("imc-worker", "imc", "mi", "imc_create_room", room, "sip:alice@example.org")
    listed = json.loads(pods.run_in("imc-worker", "imc", "mi", "--json", "imc_list_members", room))
    assert listed["MEMBERS"] == ["sip:alice@example.org"]


def test_the_balancers_readiness_probe_gets_200(pods: Pods) -> None:
    """The command of the manifest ends with 0 while an edge is in service."""
    pods.run_in("imc-lb", "sipsak", "-s", "sip:127.0.0.1:5060")


def test_every_process_drains_when_told_to(pods: Pods) -> None:
    """SIGTERM ends edges and workers by themselves, with status 0."""
    doomed = [*pods.names["imc-edge"], *pods.names["imc-worker"]]
    docker("stop", "--time", "60", *doomed, seconds=300)
    assert {state["State"]["ExitCode"] for state in json.loads(docker("inspect", *doomed))} == {0}
