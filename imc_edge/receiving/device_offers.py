"""Offers the rooms of a user to a device that shows rooms as group chats and has come after they were made.

A copy of the device's REGISTER says so. Most are refreshes: a look into the user's hash in Redis shows that
the device was offered all rooms (`imc_common.client_devices`), and nothing follows. Otherwise each shard is
searched for rooms in which the user is a member and the device is not. For each, a worker sends an INVITE to
this device (`lua/invite_device.lua`).

Devices are searched for one after the other, so thousands that come at once do not fill the streams. If Redis
is unreachable, or too many commands wait for it, that is done later. What waits here is nowhere else. If this
process dies, the device is found by its next REGISTER, as it is not marked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from imc_common import client_devices, keys
from imc_common.client_devices import Offered
from imc_common.devices import user_of
from imc_common.keys import Keys
from imc_common.metrics import Metrics
from imc_common.rooms.request import RoomRequest
from imc_common.settings import Settings
from imc_common.store import Command, Store
from imc_edge.commit import Pending
from imc_edge.receiving.command_group import CommandGroup, ask, failed
from imc_edge.receiving.registration import Registration

DELAY_SECONDS: Final = 2.0
"""From the REGISTER to the search. A client that was started again first subscribes to the rooms that it
knows, which brings it into them; and whoever gives the user a room at this moment has done so by then."""
AGAIN_SECONDS: Final = 65.0
"""Until it is searched for once more, if its user was sent an INVITE lately: that may reach this device."""
PAUSE_SECONDS: Final = 0.02
"""Between two devices."""
MAX_NOTED: Final = 64
"""Devices that Redis is told of in one turn, if it could not be told before: half a pipeline. One for each
pause would make the last of thousands wait for minutes."""
MAX_TRIES: Final = 60
"""So often it is tried, `DELAY_SECONDS` apart; then the next REGISTER leads to it."""
MAX_WAITING: Final = 100_000
"""Devices that wait; further ones are found by their next REGISTER."""
PAGE: Final = 200
"""Public rooms that one script looks through."""
MAX_PAGES: Final = 25
"""Pages of one shard."""
PIPELINE: Final = 64
"""Shards that are asked at a time."""
MAX_OFFERED: Final = 100
"""Rooms that are offered to a device at a time; it gets further ones with its next REGISTER."""


class _Waiting(NamedTuple):
    due: float
    rooms: int
    """How many rooms the user had got when the device was noted."""
    since: int
    """When it has come, in ms since the epoch; 0: it may have been there before."""
    is_again: bool = False
    tries: int = 0
    """How often Redis has not replied."""


class DeviceOffers:
    """The devices that are to be offered rooms. Its `run` has to be kept running."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        submit: Callable[[Command, Pending], bool],
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        """``clock`` is monotonic, ``wall_clock`` counts from the epoch, both in seconds."""
        self._wall_clock = wall_clock
        self._store = store
        self._submit = submit
        self._clock = clock
        self._hash_size = settings.hash_size
        self._names = Keys(settings.rooms_table, settings.members_table)
        self._waiting: dict[str, _Waiting] = {}
        """First come, first served."""
        self._unnoted: dict[str, tuple[float, int]] = {}
        """Devices that Redis could not be told of: when it is tried again, and how often it was tried. In the
        order of these times."""
        self._again: deque[tuple[str, _Waiting]] = deque(maxlen=MAX_WAITING)
        """Devices that are searched for once more; these wait longer than the others."""
        self._wake = asyncio.Event()
        self._offers = metrics.counter(
            "imc_rooms_offered", "Rooms that devices were offered when they had registered."
        )
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self._enabled = bool(settings.conference_factory)

    def registered(self, registration: Registration) -> None:
        """A REGISTER has come: note which devices are there, and look at what they were offered."""
        if not self._enabled:
            return
        if registration.ends_all:
            CommandGroup(self._submit, [client_devices.forget_all(registration.user)], _nothing)
        for device in registration.gone:
            self._waiting.pop(device, None)
            self._unnoted.pop(device, None)
            CommandGroup(self._submit, [client_devices.forget(device)], _nothing)
        for device in registration.devices:
            self._unnoted.pop(device, None)
            CommandGroup(self._submit, client_devices.note(device), _Noted(self, device))

    def note_again(self, device: str, tries: int) -> None:
        """Redis may not know of the device, although it was told so often: tell it once more, in a while."""
        self._unnoted.pop(device, None)
        if tries < MAX_TRIES and len(self._unnoted) < MAX_WAITING:
            self._unnoted[device] = self._clock() + DELAY_SECONDS, tries
            self._wake.set()

    def noted(self, device: str, offered: Offered) -> None:
        """Redis knows of the device, and what it was offered."""
        if offered.is_complete or device in self._waiting or len(self._waiting) >= MAX_WAITING:
            return
        since = int(self._wall_clock() * 1000) if offered.is_new else 0
        self._waiting[device] = _Waiting(self._clock() + DELAY_SECONDS, offered.rooms, since)
        self._wake.set()

    def forget(self, user: str) -> None:
        """The user has registered too many devices."""
        CommandGroup(self._submit, [client_devices.forget_all(user)], _nothing)

    async def run(self) -> None:
        """Offer rooms until cancelled."""
        while True:
            if not (self._waiting or self._again or self._unnoted):
                self._wake.clear()
                await self._wake.wait()
            await self.go()
            await asyncio.sleep(PAUSE_SECONDS)

    async def go(self) -> None:
        """Offer rooms to the next device, if it has waited long enough. What fails is tried again later."""
        self._note_due()
        while self._again and self._again[0][1].due <= self._clock():
            self._waiting.setdefault(*self._again.popleft())
        device, waiting = next(iter(self._waiting.items()), ("", None))
        if waiting is None or self._clock() < waiting.due:
            return
        found = await self._missing(device, waiting.since)
        if self._waiting.pop(device, None) is None:
            return  # it is gone
        if found is None:
            self._offer_later(device, waiting)
            return
        rooms, are_others_pending = found
        some = rooms[:MAX_OFFERED]
        replies = await ask(self._submit, [self._offer(device, waiting.since, room) for room in some])
        if failed(replies):  # a room that was offered is not offered twice (`lua/invite_device.lua`)
            self._offer_later(device, waiting)
            return
        self._offers.value += len(some)
        if are_others_pending and not waiting.is_again:
            due = self._clock() + AGAIN_SECONDS
            self._again.append((device, waiting._replace(due=due, is_again=True)))
        elif len(some) == len(rooms) and not are_others_pending:
            await ask(self._submit, client_devices.mark(device, waiting.rooms))

    def _note_due(self) -> None:
        """Tell Redis of devices that it could not be told of."""
        for unnoted, (due, tries) in list(islice(self._unnoted.items(), MAX_NOTED)):
            if self._clock() < due:
                return
            del self._unnoted[unnoted]
            CommandGroup(self._submit, client_devices.note(unnoted), _Noted(self, unnoted, tries + 1))

    def _offer_later(self, device: str, waiting: _Waiting) -> None:
        """Redis is unreachable, or too many commands wait for it."""
        if waiting.tries < MAX_TRIES:
            due = self._clock() + DELAY_SECONDS
            self._waiting.setdefault(device, waiting._replace(due=due, tries=waiting.tries + 1))

    async def _missing(self, device: str, since: int) -> tuple[list[str], bool] | None:
        """The rooms of its user in which the device is not; None if Redis does not say.

        And whether there are rooms to which the user is being asked as a whole.
        """
        found: list[str] = []
        pending = 0
        shards = range(1 << self._hash_size)
        for first in range(0, len(shards), PIPELINE):
            some = list(shards[first : first + PIPELINE])
            for page in range(MAX_PAGES):
                replies = await ask(
                    self._submit, [self._search(device, since, shard, page) for shard in some]
                )
                if failed(replies):
                    return None
                for reply in replies:
                    pending += reply[1]
                    found += [room.decode() for room in reply[2:]]
                some = [shard for shard, reply in zip(some, replies, strict=True) if reply[0] == PAGE]
                if not some:
                    break
        return sorted(found), pending > 0

    def _search(self, device: str, since: int, shard: int, page: int) -> Command:
        user = user_of(device)
        prefixes = self._names.members(shard, ""), keys.devices(shard, ""), self._names.room(shard, "")
        return self._store.script(
            "find_rooms",
            (self._names.rooms(shard), keys.private_rooms(shard, user)),
            (user, device, page * PAGE, PAGE, *prefixes, since),
        )

    def _offer(self, device: str, since: int, room: str) -> Command:
        request = RoomRequest("invite_device", user_of(device), room, detail=str(since or ""), device=device)
        return ("XADD", keys.requests(keys.shard_of(room, self._hash_size)), "*", *request.to_fields())


class _Noted:
    """A device was noted."""

    __slots__ = ("_device", "_offers", "_tries")

    def __init__(self, offers: DeviceOffers, device: str, tries: int = 1) -> None:
        self._offers = offers
        self._device = device
        self._tries = tries

    def __call__(self, replies: Sequence[Any]) -> None:
        if failed(replies):
            self._offers.note_again(self._device, self._tries)
            return
        offered, has_too_many = client_devices.offered(replies)
        if has_too_many:
            self._offers.forget(user_of(self._device))
        self._offers.noted(self._device, offered)


def _nothing(replies: list[Any]) -> None:
    """Nobody waits for it."""
