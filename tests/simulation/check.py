"""Did each member get each message of each room, in the order of its history?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from imc_common import keys
from imc_common.keys import Keys, shard_of
from imc_common.rooms.request import RequestData
from tests.simulation.phones import Got, Phones
from tests.simulation.processes import HASH_SIZE
from tests.simulation.redis import Server


@dataclass
class Findings:
    """What was wrong, and what happened."""

    problems: list[str] = field(default_factory=list)
    deliveries: int = 0
    duplicates: int = 0
    events: list[str] = field(default_factory=list)


def check(
    findings: Findings, server: Server, said: Mapping[str, list[str]], phones: Phones, members: Sequence[str]
) -> None:
    """Add to the findings. ``said``: the marks of the messages to each room."""
    shards = {room: shard_of(room, HASH_SIZE) for room in said}
    for room, marks in said.items():
        kept = server.run(("XRANGE", Keys().history(shards[room], room), "-", "+"))
        order = [(fields[0].decode(), _mark(fields[1])) for _, fields in kept]
        assert sorted(mark for _, mark in order) == sorted(marks)
        for member in members:
            due = [mark for author, mark in order if author != member]
            got = _first_copies(findings, [each for each in phones.got[member] if each.room == room])
            findings.problems += [f"{room}: {member} {what}" for what in _compare(due, got)]
    for shard in set(shards.values()):
        if dead := server.run(("XLEN", keys.dead(shard))):
            findings.problems.append(f"{dead} dead letters in shard {shard}")


def _mark(data: bytes) -> str:
    return RequestData.unpack(data).body.decode().partition("mark=")[2].strip()


def _first_copies(findings: Findings, messages: list[Got]) -> dict[str, Got]:
    """By mark. Further copies have to be recognisable."""
    first: dict[str, Got] = {}
    for each in messages:
        findings.deliveries += 1
        before = first.setdefault(each.mark, each)
        if before is not each:
            findings.duplicates += 1
            if before.identity != each.identity:
                findings.problems.append(f"{each.room}: {each.mark} came twice, by different Call-IDs")
    return first


def _compare(due: list[str], got: dict[str, Got]) -> list[str]:
    problems = []
    if lost := [mark for mark in due if mark not in got]:
        problems.append(f"never got {lost}")
    pairs = zip(got, [mark for mark in due if mark in got], strict=True)
    for came, wanted in pairs:
        if came != wanted:
            times = f"{got[came].at:.3f} and {got[wanted].at:.3f}"
            problems.append(f"got {came} before {wanted}, at {times}")
            break
    return problems
