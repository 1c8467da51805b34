"""The history of what users sent and received, and its checker. Pure: no sockets, no clock.

Every room has an *observer*, a member that never sends. It receives everything that happens in the room, so
its log defines the order of the room, and shows who was a member at each message. Where it was
away for too long, the logs of others show what it has missed (`tests.chaos.skipped`). The logs of all other
members must agree with this order. A message may come late, because members may be away for a while: what
counts is that it comes, once, and in its place.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.log import Kind, Received, Sent
from tests.chaos.skipped import Order, excused, with_skipped

LATE_SECONDS = 2.0


@dataclass(slots=True)
class Verdict:
    """The result of a check. It is ``ok`` if nothing was lost, doubled, misdirected or out of order."""

    messages: int = 0
    deliveries: int = 0
    duplicates: int = 0
    late: int = 0
    """Deliveries more than `LATE_SECONDS` after the observer's, as to members who were away."""
    longest_gap: float = 0.0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    misdirected: list[str] = field(default_factory=list)
    reordered: list[str] = field(default_factory=list)
    versions: int = 0
    """Versions of rosters that phones got."""
    rosters: list[str] = field(default_factory=list)
    """What was wrong with who is in a room, as phones show it."""
    forgone: int = 0
    """Messages that a user had missed when it left the room: these are not sent any more."""
    skipped: int = 0
    """Messages that a catch-up did not hand out, and whose number the user was told."""
    overtold: int = 0
    """Messages in these numbers that the user got, because nobody knew that it did."""
    unjudged: int = 0
    """Users of whom the observer of their room does not know when they were members."""

    @property
    def ok(self) -> bool:
        return not (self.lost or self.doubled or self.misdirected or self.reordered or self.rosters)

    def __str__(self) -> str:
        return (
            f"messages {self.messages}, deliveries {self.deliveries}, lost {len(self.lost)}, "
            f"doubled {len(self.doubled)}, misdirected {len(self.misdirected)}, "
            f"reordered {len(self.reordered)}, wrong rosters {len(self.rosters)}, versions {self.versions}, "
            f"duplicates {self.duplicates}, late {self.late}, "
            f"longest gap {self.longest_gap:.1f} s, forgone {self.forgone}, skipped {self.skipped}, "
            f"overtold {self.overtold}, "
            f"unjudged {self.unjudged}"
        )


@dataclass(slots=True)
class History:
    """Everything that users sent and received in one run."""

    sent: list[Sent] = field(default_factory=list)
    received: dict[str, list[Received]] = field(default_factory=lambda: defaultdict(list))
    notes: list[tuple[float, str]] = field(default_factory=list)
    """What else happened, with the time: it is not checked."""

    def check(self, observers: dict[str, str]) -> Verdict:
        """Check the history, given the observer of each room."""
        verdict = Verdict(messages=sum(sent.accepted for sent in self.sent))
        rooms: dict[str, dict[str, list[Received]]] = defaultdict(lambda: defaultdict(list))
        for user, log in self.received.items():
            for room, lines in first_copies(user, log, verdict).items():
                rooms[room][user] = lines
        for room, observer in observers.items():
            log = rooms[room].pop(observer, [])
            sent = [each for each in self.sent if each.room == room]
            order = with_skipped(observer, log, rooms[room].values(), sent)
            verdict.skipped += len(order.skipped)
            self._check_senders(room, order.lines, verdict)
            _check_members(room, order, rooms[room], self._senders(room), verdict)
        verdict.deliveries = sum(
            line.kind is Kind.MESSAGE for logs in self.received.values() for line in logs
        )
        verdict.longest_gap = _longest_gap(self.received)
        return verdict

    def as_text(self) -> str:
        """A line for each message sent or received, by time, to compare with the logs of the processes."""
        lines = [
            (
                sent.at,
                f"{sent.sender} says {sent.mark} in {sent.room}: {'' if sent.accepted else 'not '}accepted",
            )
            for sent in self.sent
        ]
        for user, log in self.received.items():
            lines += [
                (got.at, f"{user} gets {got.kind.value} {got.what} of {got.room}, {got.identity}")
                for got in log
            ]
        return "".join(f"{at:.3f} {what}\n" for at, what in sorted(lines + self.notes))

    def _senders(self, room: str) -> dict[str, str]:
        return {sent.mark: sent.sender for sent in self.sent if sent.room == room}

    def _check_senders(self, room: str, order: list[Received], verdict: Verdict) -> None:
        """Every accepted message is in the room's order, and those of each sender in the order of sending."""
        place = {line.what: index for index, line in enumerate(order) if line.kind is Kind.MESSAGE}
        last: dict[str, tuple[int, str]] = {}
        for sent in self.sent:
            if sent.room != room:
                continue
            if sent.mark not in place:
                if sent.accepted:
                    verdict.lost.append(f"{room}: {sent.mark} was accepted and never had its turn")
                continue
            before = last.get(sent.sender)
            if before and before[0] > place[sent.mark]:
                verdict.reordered.append(f"{room}: {sent.mark} came before {before[1]} of the same sender")
            # a sender waits for the 2xx before the next message (RFC 3428 §8); without one, no order is
            # promised
            if sent.accepted:
                last[sent.sender] = (place[sent.mark], sent.mark)


def first_copies(user: str, log: list[Received], verdict: Verdict) -> dict[str, list[Received]]:
    """The log by room without repeated deliveries. A second copy with another identity counts as doubled."""
    rooms: dict[str, list[Received]] = defaultdict(list)
    identities: dict[tuple[str, str], str] = {}
    seen: set[str] = set()
    for line in log:
        if line.identity in seen:
            verdict.duplicates += 1
            continue
        seen.add(line.identity)
        if line.kind is Kind.MESSAGE:
            first = identities.setdefault((line.room, line.what), line.identity)
            if first != line.identity:
                verdict.doubled.append(f"{line.room}: {user} got {line.what} twice")
                continue
        rooms[line.room].append(line)
    return rooms


def _check_members(
    room: str,
    order: Order,
    logs: dict[str, list[Received]],
    senders: dict[str, str],
    verdict: Verdict,
) -> None:
    """Each member received exactly the messages of its time as a member, in the room's order.

    Who leaves does not get any more what was missed until then: these are the last messages of the stay.

    Notices of joins and leaves are not kept for who is away. If another member got more of them about a user
    than the observer did, nobody knows which messages were due to that user.
    """
    known, unclear = _changes(order.lines), set[str]()
    for log in logs.values():
        unclear |= {user for (kind, user), count in _changes(log).items() if count > known[kind, user]}
    verdict.unjudged += len(unclear)
    due: dict[str, list[str]] = defaultdict(list)
    got = {user: {line.what for line in log} for user, log in logs.items()}
    stay: Counter[str] = Counter()
    turns = {line.what: line.at for line in order.lines if line.kind is Kind.MESSAGE}
    inside: set[str] = set()
    for line in order.lines:
        if line.kind is Kind.JOINED:
            inside.add(line.what)
            stay[line.what] = len(due[line.what])
        elif line.kind is Kind.LEFT:
            inside.discard(line.what)
            verdict.forgone += _forgo(due[line.what], stay[line.what], got.get(line.what, set()))
        else:
            for user in inside:
                if senders.get(line.what) != user:
                    due[user].append(line.what)
    for user in (due.keys() | logs.keys()) - unclear:
        log = logs.get(user, [])
        lines = [line for line in log if line.kind is Kind.MESSAGE]
        skipped, overtold = excused(user, log, due[user], got.get(user, set()))
        verdict.overtold += overtold
        verdict.skipped += len(skipped)
        due[user] = [mark for mark in due[user] if mark not in skipped]
        verdict.late += sum(line.at > turns.get(line.what, line.at) + LATE_SECONDS for line in lines)
        compare(room, user, due[user], [line.what for line in lines], verdict)


def _forgo(due: list[str], since: int, got: set[str]) -> int:
    """Take back the last messages of a stay, which began at this place, if the user did not get them."""
    before = len(due)
    while len(due) > since and due[-1] not in got:
        due.pop()
    return before - len(due)


def _changes(log: list[Received]) -> Counter[tuple[Kind, str]]:
    """How often this log tells that a user joined, and how often that it left."""
    return Counter((line.kind, line.what) for line in log if line.kind in {Kind.JOINED, Kind.LEFT})


def compare(room: str, user: str, due: list[str], got: list[str], verdict: Verdict) -> None:
    """Note the difference between what was due and what the user got, in order."""
    missing = Counter(due) - Counter(got)
    extra = Counter(got) - Counter(due)
    verdict.lost += [f"{room}: {user} never got {mark}" for mark in missing]
    verdict.misdirected += [f"{room}: {user} got {mark} and was not a member" for mark in extra]
    # the order of what did come says something, too, when other messages are missing
    due = [mark for mark in due if mark not in missing]
    got = [mark for mark in got if mark not in extra]
    if got != due:
        verdict.reordered.append(f"{room}: {user} got {_first_difference(due, got)}")


def _first_difference(due: list[str], got: list[str]) -> str:
    return next(f"{g} where {d} was due" for d, g in zip(due, got, strict=True) if d != g)


def _longest_gap(received: dict[str, list[Received]]) -> float:
    """The longest time in seconds in which no user received anything."""
    times = sorted(line.at for log in received.values() for line in log)
    return max((later - earlier for earlier, later in pairwise(times)), default=0.0)
