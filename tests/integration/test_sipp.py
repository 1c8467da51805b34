"""Conversations between users that are SIPp processes, so both ends speak an independent SIP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from imc_cli.demo_conversation import CONVERSATION, USERS, filled, matches
from imc_common.keys import shard_of, undelivered
from tests.integration.service import Service
from tests.integration.sipp_runs import SippMember, say
from tests.ports import free_port
from tests.processes import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends the processes that a test started."""
    with ExitStack() as running:
        yield running


def listen(stack: ExitStack, folder: Path, name: str, scenario: str, calls: int, **words: str) -> SippMember:
    """Start a member that listens until the end of the test."""
    member = SippMember.start(folder, name, free_port(), scenario, calls, **words)
    stack.callback(member.stop)
    return member


def test_the_demo_conversation_works_with_sipp_users(
    imc: Service, tmp_path: Path, room: str, stack: ExitStack
) -> None:
    """SIPp plays all four users; each gets exactly the expected messages, in order."""
    due = {name: [p for step in CONVERSATION for p in step.then.get(name, ())] for name in USERS}
    members = {name: listen(stack, tmp_path, name, "respond.xml", max(len(due[name]), 1)) for name in USERS}
    names = {name: member.address for name, member in members.items()} | {"room": room.removeprefix("sip:")}
    say(tmp_path, imc.edge, [(names[s.who], names["room"], filled(s.text, names)) for s in CONVERSATION])
    for name, member in members.items():
        assert member.wait() == 0, (tmp_path / f"{name}.out").read_text()
        texts = member.texts()
        assert len(texts) == len(due[name]), texts
        assert [(p, t) for p, t in zip(due[name], texts, strict=True) if not matches(p, names, t)] == []


@pytest.mark.slow
@pytest.mark.parametrize("imc", ["redis"], indirect=True)  # it takes half a minute
def test_members_get_notices_whatever_other_members_respond(
    imc: Service, tmp_path: Path, room: str, stack: ExitStack
) -> None:
    """Members respond with 200, 403, 603 or not at all. Each failure is recorded with its status."""
    address = room.removeprefix("sip:")
    alice = listen(stack, tmp_path, "alice", "respond.xml", 5)
    good = listen(stack, tmp_path, "good", "respond.xml", 4)
    broken = listen(stack, tmp_path, "broken", "respond.xml", 3, **{"200_OK": "603 Decline"})
    gone = listen(stack, tmp_path, "gone", "respond.xml", 2, **{"200_OK": "403 Forbidden"})
    silent = listen(stack, tmp_path, "silent", "silent.xml", 1)
    members = (good, broken, gone, silent)
    lines = [f"#add sip:{member.address}" for member in members]
    say(tmp_path, imc.edge, [(alice.address, address, line) for line in ("#create", *lines)])
    for member in (alice, *members):
        assert member.wait() == 0, (tmp_path / f"{member.name}.out").read_text()
    assert alice.texts()[1:] == [f"*** You have added {member.address}." for member in members]
    told = [f"*** {alice.address} has added {member.address}." for member in members]
    welcome = (
        f"*** {alice.address} has added you to this room. Send #exit to leave. This room keeps what is said."
    )
    for number, member in enumerate(members):
        assert member.texts() == [welcome, *told[number + 1 :]]
    assert silent.count_received() >= 7, (
        "11 times, 0.5 s doubling to 4 s apart, until 32 s, if the machine never stalls"
    )

    def failures() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for _, fields in imc.redis.xrange(undelivered(shard_of(address, 4))):
            if fields[b"room"].decode() == address:
                found.setdefault(fields[b"from"].decode(), set()).add(fields[b"status"].decode())
        return found

    wait_until(lambda: silent.address in failures(), "a record of the silent member", 150)
    assert failures() == {broken.address: {"603"}, gone.address: {"403"}, silent.address: {"408"}}
