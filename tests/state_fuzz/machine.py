"""The state machine: requests, operators, failed deliveries, restarts and faults in random order."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

import redis
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from imc_common.address import without_case
from imc_common.rooms.event import Event
from imc_common.scripts import Scripts
from imc_common.settings import Settings
from tests.state_fuzz import requests
from tests.state_fuzz.compare import check_events, check_rooms
from tests.state_fuzz.deployment import Deployment, Worker
from tests.state_fuzz.requests import Written
from tests.state_fuzz.room import Ask, Notice
from tests.state_fuzz.rules import Rules

ALICE, CHAT = "alice@example.org", "chat@example.org"
SEEDS = st.integers(0, 2**32 - 1)


class RoomMachine(RuleBasedStateMachine):
    """`url`, `control` and `scripts` are set by `machine_on`."""

    url: str
    control: redis.Redis
    scripts: Scripts

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.Runner()
        self._suspended: list[Worker] = []
        self._asks: dict[str, Ask] = {}  # by Call-ID
        self._expected: dict[int, list[tuple[str, list[Notice]]]] = {}  # not compared yet, by shard
        self._sent: list[Event] = []
        self._last: Written | None = None
        self._deployment: Deployment | None = None

    @initialize(seed=SEEDS)
    def begin(self, seed: int) -> None:
        """Three rooms; one has members of all roles."""
        random = Random(seed)
        settings = requests.settings(random)
        note(f"settings: {settings}")
        self._settings = Settings(**settings)
        self._deployment = Deployment(self.url, self.control, self.scripts, self._settings)
        self._run(self._deployment.start())
        self._rules = Rules(self._settings)
        for owner, other in (("bob@example.org", "Chat@example.org"), (ALICE, "bob@192.0.2.9:5060")):
            self._ask(Written(Ask("join", owner, other), owner, other, "#join"))
        private = random.random() < 0.5
        self._ask(
            Written(
                Ask("create", ALICE, CHAT, private=private), ALICE, CHAT, "#create" + " private" * private
            )
        )
        for user in ("bob@example.org", "carol@192.0.2.1:5071", "dave@[2001:db8::1]:5060")[
            : random.randint(1, 3)
        ]:
            role = random.choice(requests.ROLES)
            self._ask(Written(Ask("add", ALICE, CHAT, user), ALICE, CHAT, f"#add {user}"))
            self._ask(Written(Ask("modify", ALICE, CHAT, user, role), ALICE, CHAT, f"#modify {user} {role}"))
        self._work()

    # --- what may happen

    @rule(seed=SEEDS, later=st.booleans())
    def ask(self, seed: int, later: bool) -> None:
        """Users ask for something, or the first one with a role; that is handled now or later."""
        random = Random(seed)
        for _ in range(random.randint(1, 4)):
            self._ask(self._by(requests.request(random), random.choice(requests.SEATS)))
        if not later:
            self._work()

    @rule(seed=SEEDS)
    def ask_during_a_fault(self, seed: int) -> None:
        """Redis fails while a request is accepted or handled."""
        random = Random(seed)
        self._work()
        fault = requests.fault(random)
        note(f"{fault}")
        self.deployment.backend.arm(fault)
        self._ask(self._by(requests.request(random), random.choice(requests.SEATS)))
        self._work()

    @rule(seed=SEEDS)
    def deal_with(self, seed: int) -> None:
        """An owner or admin does something about a user, who then does something in the same room."""
        random = Random(seed)
        self._last = self._by(requests.dealing(random), random.choice(("owner", "owner", "admin")))
        self._ask(self._last)
        self._work()
        user, room = self._last.ask.user, self._last.ask.room
        for response in random.choices(requests.RESPONSES, k=random.randint(1, 3)):
            body = "hello" if response == "message" else f"#{response}"
            self._ask(Written(Ask(response, user, room), user, room, body))
            self._work()
        if random.random() < 0.3:
            self.repeat()

    @precondition(lambda self: self._last)
    @rule()
    def repeat(self) -> None:
        """The same user asks the same again, in a new message."""
        self._work()
        assert self._last is not None
        self._ask(self._last)
        self._work()

    @rule(seed=SEEDS)
    def operate(self, seed: int) -> None:
        """An operator changes a room."""
        self._work()
        ask = self._canonical(requests.operation(Random(seed)))
        note(f"{ask}")
        self._run(self.deployment.operate(ask.kind, ask.room, ask.user, ask.role))
        self._expect(f"mi-{self.deployment.number}", ask)
        self._work()

    @rule(first=st.sampled_from((5080, 5079, 5078, 5071)))
    def crowd(self, first: int) -> None:
        """Alice adds one user at many ports."""
        for port in range(first, 5081):
            user = f"carol@192.0.2.1:{port}"
            self._ask(Written(Ask("add", ALICE, CHAT, user), ALICE, CHAT, f"#add {user}"))
        self._work()

    @precondition(lambda self: self._sent)
    @rule(seed=SEEDS)
    def fail_to_deliver(self, seed: int) -> None:
        """The delivery of one of the last events fails; the most interesting ones are invitations."""
        random = Random(seed)
        self._work()
        invitations = [event for event in self._sent if event.name == "invited"]
        event = random.choice(invitations if invitations and random.random() < 0.5 else self._sent[-30:])
        self._fail(event, random)

    @rule(seed=SEEDS)
    def fail_to_invite_in_time(self, seed: int) -> None:
        """A user declines, or is not there, and is invited again; then one of the invitations fails."""
        random = Random(seed)
        user = self._known(random.choice([*requests.USERS]))
        invite = self._by(Written(Ask("invite", ALICE, CHAT, user), ALICE, CHAT, f"#invite {user}"), "owner")
        self._ask(invite)
        self._ask(Written(Ask("deny", user, CHAT), user, CHAT, "#deny"))
        self._ask(invite)
        self._work()
        events = [event for event in self._sent if event.name == "invited" and event.to == (user,)][-2:]
        if events:
            self._fail(random.choice(events), random)

    def _fail(self, event: Event, random: Random) -> None:
        self._sent.remove(event)
        recipient, outcome = random.choice(event.to), random.choice(requests.OUTCOMES)
        note(f"{outcome} from {recipient} to {event}")
        self._run(self.deployment.report(event, recipient, outcome))
        cause = self._asks.get(event.call_id)
        notices = self._rules.failed(
            event.name, event.room, by=event.actor, recipient=recipient, outcome=outcome, cause=cause
        )
        self._expected.setdefault(event.shard, []).append((event.call_id, notices))
        self._work()

    @rule(end=st.sampled_from(("kill", "suspend", "resume")), reads=st.booleans())
    def replace_the_worker(self, end: str, reads: bool) -> None:
        """The worker ends, perhaps with entries that it has read, or stops for a while; another one follows.

        One that resumes does not know yet that it owns nothing any more.
        """
        if end == "resume" and self._suspended:
            worker = self._suspended.pop()
            for step in (worker.handle, worker.read, worker.handle):
                self._run(step())
            return
        if reads:
            self._run(self.deployment.worker.read())
        if end == "suspend":
            self._suspended.append(self.deployment.worker)
        self._run(self.deployment.start())

    @rule()
    def work(self) -> None:
        """The worker handles all that there is."""
        self._work()

    # --- what must be true

    @invariant()
    def rooms_and_news_are_right(self) -> None:
        """Nothing is left half done, lost, or done twice."""
        if self._deployment is None or self._deployment.pending():
            return
        chunk = self._settings.delivery_chunk
        for shard in self._deployment.shards:
            events = self._deployment.new_events(shard)
            check_events(events, self._expected.pop(shard, []), chunk)
            self._sent += events
        check_rooms(self._rules, self._deployment)

    def teardown(self) -> None:
        """End what is left."""
        if self._deployment is not None:
            self._deployment.backend.heal()
            self._run(self._deployment.store.close())
        self._loop.close()

    # --- steps

    @property
    def deployment(self) -> Deployment:
        """What is driven."""
        assert self._deployment is not None
        return self._deployment

    def _run(self, step: Any) -> Any:
        return self._loop.run(step)

    def _ask(self, written: Written) -> None:
        """A user's request is accepted: the edge reads in it what the user meant."""
        note(f"{written.sender} to {written.to}: {written.body}")
        ask = self._canonical(written.ask)
        # what is read or counted in all shards must not depend on what another shard has still to do
        spans_shards = ask.kind == "rooms" or (
            self._settings.max_rooms_per_owner and self._settings.hash_size
        )
        if spans_shards:
            self._work()
        if ask.kind in {"rooms", "help"}:  # about no room: the notice comes from where it was sent to
            ask = replace(ask, room=self._known(_address(written.to)))
        read = self._run(self.deployment.send(written.sender, written.to, written.body))
        understood = Ask(read.type, read.sender, read.room, read.user, read.role, read.text, read.private)
        assert understood == ask, f"{written} was read as {understood}"
        self._expect(f"n{self.deployment.number}", ask)
        if spans_shards:
            self._work()

    def _by(self, written: Written, role: str) -> Written:
        """The same request by the first user with this role in the room, if there is one."""
        room = self._rules.rooms.get(self._known(written.ask.room))
        there = dict.fromkeys(room.invited, "invited") | room.roles if room else {}
        for user in sorted(there):
            if there[user] == role:
                return written._replace(ask=replace(written.ask, sender=user), sender=user)
        return written

    def _expect(self, call_id: str, ask: Ask) -> None:
        self._asks[call_id] = ask
        shard = self.deployment.shard_of(ask.room)
        self._expected.setdefault(shard, []).append((call_id, self._rules.handle(ask)))

    def _work(self) -> None:
        self._run(self.deployment.work())
        self.rooms_and_news_are_right()

    def _canonical(self, ask: Ask) -> Ask:
        return replace(
            ask, sender=self._known(ask.sender), room=self._known(ask.room), user=self._known(ask.user)
        )

    def _known(self, address: str) -> str:
        """An address as everybody is to see it under these settings."""
        return address if self._settings.case_sensitive_users else without_case(address)


def _address(written: str) -> str:
    for name, ways in requests.ROOMS.items():
        if written in {name, *ways}:
            return name
    return written
