"""Programs that answer every message of a room without saying so (RFC 3834 §5 has Auto-Submitted for it).

Two of them in a room would answer each other for ever. What they write differs, and so do their delays, so
neither is looked at. A loop needs one thing: each message of others has an answer, and there is nothing
else. The n-th message that a member writes is compared with the n-th that it got. People skip messages, write
two in a row, and pause. So a member counts as a program after a long run of answers to successive messages,
and the run has to be longer where the answers come later (`NEEDED`).

All of this is in the memory of the worker that owns the shard. A message costs Redis nothing; after a change
of the owner, a program is recognised a run later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, final

from imc_common.settings import Settings

NEEDED: Final = (
    (1_000, 40, 80),
    (3_000, 80, 320),
    (10_000, 200, 800),
    (60_000, 500, 5_000),
)
"""The longest delay of a run in ms, and the answers that show a program: so many if it answers each message
before the next one comes, so many otherwise. The second number is higher because one skipped message and two
in a row are no exception then. After the last of these times a message counts as skipped."""
LONGEST_MS: Final = 60_000
PATIENCE_MS: Final = 10_000
"""Who is muted may write again when the latest unanswered message is older than this, or than the delays by
which the program was recognised."""
MAX_KNOWN: Final = 64
"""Messages of a room that are remembered for `LONGEST_MS`."""
MAX_BURST: Final = 1024
"""Messages of a room that are remembered for `BURST_MS`: programs answer each other in bursts."""
BURST_MS: Final = 3_000
MAX_ROOMS: Final = 2048
"""Rooms that are remembered, those with the latest messages; twice as many at most."""

_MESSAGE: Final = [b"type", b"message"]
_FROM_ROOM: Final = [b"from", b"room"]
"""How the entry of a message begins, without the sender's address (`RoomRequest.to_fields`)."""

Place = tuple[int, int]
"""The id of an entry: when it came, in ms, and a number."""
Entry = tuple[int, bytes, list[bytes]]
"""An entry of an in-stream: shard, id, flat fields."""
Answers = dict[tuple[int, bytes], bool]
"""Entries, by shard and id, that are not delivered, because a program has sent them; and whether the sender
is to be told."""


@final
class _RunOfAnswers:
    """The latest messages of one member, as far as each answers the next message of others."""

    __slots__ = ("answers", "lags", "muted_at", "next", "owed", "owed_at", "slowest")

    def __init__(self, at: int) -> None:
        self.restart(at)

    def restart(self, at: int) -> None:
        """The run begins with the messages from this place on."""
        self.answers = 0
        self.slowest = 0
        """The longest delay, in ms."""
        self.lags = False
        """Whether another message came before one had its answer."""
        self.next = at
        """The place of the message that the next answer is compared with, or of one of the member's own."""
        self.muted_at: Place | None = None
        """The message with which the member was recognised; None: it is not muted."""
        self.owed = 0
        """Further answers, to messages that are forgotten and to the notice of the muting."""
        self.owed_at = 0

    def owe(self, at: int, count: int) -> None:
        """So many answers may come to what is not in the room's memory."""
        self.owed += count
        self.owed_at = at

    def pays(self, at: int) -> bool:
        """Whether this is one of these."""
        if not self.owed or at - self.owed_at > max(PATIENCE_MS, self.slowest):
            return False
        self.owe(at, -1)
        return True

    def answer(self, delay: int) -> None:
        """One more answer."""
        self.answers += 1
        self.slowest = max(self.slowest, delay)

    @property
    def is_long(self) -> bool:
        """Whether people do not answer like this."""
        return any(
            self.slowest <= delay and self.answers >= (lagging if self.lags else alone)
            for delay, alone, lagging in NEEDED
        )


@final
class _Room:
    """The messages of a room that may still get an answer, numbered by place, and the runs of its members."""

    __slots__ = ("first", "in_burst", "last_id", "runs", "said")

    def __init__(self) -> None:
        self.said: deque[tuple[int, bytes]] = deque()
        """When, in ms, and who."""
        self.first = 0
        """The place of the first of these."""
        self.in_burst = False
        """Whether those before it were forgotten although they came just now."""
        self.runs: dict[bytes, _RunOfAnswers] = {}
        self.last_id: Place = (0, 0)

    def judge(self, place: Place, sender: bytes) -> bool | None:
        """None: the message is delivered. Else its sender is a program; True: the sender is to be told."""
        at = place[0]
        self.last_id = place
        self._forget_before(at)
        run = self.runs.get(sender)
        if run is None:
            run = self.runs[sender] = _RunOfAnswers(self.first + len(self.said))
            self._note(run, at, sender)
            if len(self.runs) > MAX_KNOWN:
                self.runs = {who: one for who, one in self.runs.items() if one.next >= self.first}
            return None
        delay = self._delay(run, at, sender)
        if delay is None and run.pays(at):
            delay = 0
        if run.muted_at is not None:
            if delay is not None and delay <= max(PATIENCE_MS, run.slowest):
                return False
            run.restart(self.first + len(self.said))
        elif delay is not None:
            run.answer(delay)
            if run.is_long:
                run.muted_at = place
                run.owe(at, 1)
                return True
        else:
            run.restart(self.first + len(self.said))
        self._note(run, at, sender)
        return None

    def of_before(self, place: Place, sender: bytes) -> bool | None:
        """The same of a message that was judged before."""
        run = self.runs.get(sender)
        if run is None or run.muted_at is None or place < run.muted_at:
            return None
        return place == run.muted_at

    def _delay(self, run: _RunOfAnswers, at: int, sender: bytes) -> int | None:
        """How many ms after the next message of others this one comes; None if it is no answer."""
        if run.next < self.first:
            if not self.in_burst:
                return None  # a message without an answer
            run.owe(at, self.first - run.next)
            run.next = self.first
        found = None
        said = self.said
        for index in range(run.next - self.first, len(said)):  # not islice: it passes all that are before
            said_at, who = said[index]
            if who != sender and found is not None:
                run.lags = True
                return found
            run.next += 1
            if who != sender:
                found = max(0, at - said_at)
        return found

    def _note(self, run: _RunOfAnswers, at: int, sender: bytes) -> None:
        """A message that is delivered. It is no message that its sender could answer."""
        if run.next == self.first + len(self.said):
            run.next += 1
        self.said.append((at, sender))

    def _forget_before(self, at: int) -> None:
        said = self.said
        while said:
            age, count = at - said[0][0], len(said)
            if age <= LONGEST_MS and count < MAX_BURST and (count < MAX_KNOWN or age <= BURST_MS):
                return
            said.popleft()
            self.first += 1
            self.in_burst = age <= BURST_MS


class AutomaticAnswers:
    """Recognises the programs among the senders of messages, from the order and the times of these."""

    def __init__(self, settings: Settings) -> None:
        self._rooms: dict[bytes, _Room] = {}
        self._older: dict[bytes, _Room] = {}
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Use these settings from now on."""
        self._are_muted = settings.mute_automatic_answers

    def among(self, entries: Sequence[Entry]) -> Answers:
        """Which of these entries are not delivered. They come in the order of their shards; some may have
        come before."""
        found: Answers = {}
        if not self._are_muted:
            return found
        for shard, entry_id, fields in entries:
            if fields[:2] != _MESSAGE or fields[2:5:2] != _FROM_ROOM:
                continue
            room = self._room(fields[5])
            milliseconds, _, number = entry_id.partition(b"-")
            place = int(milliseconds), int(number)
            if place > room.last_id:
                is_told = room.judge(place, fields[3])
            else:
                is_told = room.of_before(place, fields[3])
            if is_told is not None and b"operator" not in fields[::2]:
                found[shard, entry_id] = is_told
        return found

    def _room(self, address: bytes) -> _Room:
        room = self._rooms.get(address)
        if room is None:
            known = self._older.pop(address, None)
            room = self._rooms[address] = _Room() if known is None else known
            if len(self._rooms) >= MAX_ROOMS:
                self._older, self._rooms = self._rooms, {}
        return room
