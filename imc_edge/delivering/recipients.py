"""The recipients that are remembered, bounded in number.

Among millions of users nearly all get a message once in a long while, and are made anew each time. To
remember every one of them costs more than to make it: memory that nothing has touched for long is in no cache
of the processor. So there are two generations:

- *New* ones, few enough for the processor's cache. When there are `MAX_NEW` of them, the idle ones are
  dropped; but every eighth time they are promoted instead.
- *Long-lived* ones. They are dropped when they are rarely asked for, or too many.

Frequent recipients are promoted to the long-lived ones within a few rounds. This also works for a room with
more members than `MAX_NEW`, which all get messages in turn. Recipients with a delivery in
flight are never dropped, and those backed off only when there are too many.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

from imc_common.devices import is_device, request_uri, to_uri, user_of
from imc_edge.delivering.delivery_context import DeliveryContext
from imc_edge.delivering.outbound import to_lines
from imc_edge.delivering.recipient import Recipient
from imc_edge.identifiers import DeliveryIds

MAX_NEW: Final = 1024
"""So many are few enough to stay in a processor's cache."""
PROMOTE_EVERY: Final = 8
"""Of so many times that the new ones are cleared, they are promoted once."""
MAX_MISSES_PER_HIT: Final = 16
"""Recipients made for each time that a long-lived one is asked for; with more, they are not worth keeping."""


MAX_USERS_OF_DEVICES: Final = 50_000
"""Users by whom devices are found; with more, those whose devices are forgotten are left out."""
DEVICE_MARK: Final = ";gr="
"""In the address of every device; few others have it."""
_SIP: Final = "sip:"


class Recipients:
    """Recipients that got something lately."""

    def __init__(self, context: DeliveryContext, delivery_ids: DeliveryIds, limit: int) -> None:
        """``limit``: long-lived recipients to keep."""
        self._context = context
        self._delivery_ids = delivery_ids
        self._limit = limit
        self._new: dict[str, Recipient] = {}
        self._clear_new_at = min(limit, MAX_NEW)
        self._clearings = 0
        self._misses = 0
        """Recipients made since the last promotion."""
        self._hits = 0
        """How often long-lived ones were asked for since then."""
        self._long_lived: dict[str, Recipient] = {}
        self._make_room_at = limit
        self._devices: dict[str, dict[str, None]] = {}
        """Devices by user; some may be forgotten."""

    def __len__(self) -> int:
        return len(self._new) + len(self._long_lived)

    def __iter__(self) -> Iterator[Recipient]:
        return chain(self._new.values(), self._long_lived.values())

    def get(self, address: str) -> Recipient | None:
        """The recipient of this address, if it is known."""
        known = self._new.get(address)
        if known is None:
            known = self._long_lived.get(address)
            if known is not None:
                self._hits += 1
        return known

    def add(self, address: str) -> Recipient:
        """A recipient that is not known yet; it is from now on. Raises `UnsendableError`."""
        recipient_id = self._delivery_ids.recipient_id(address)
        if DEVICE_MARK in address and is_device(address):
            made = self._made_device(address, recipient_id)
        else:
            made = Recipient(address, recipient_id, to_lines(address, recipient_id), self._context)
        self._context.courier.prepare(made)
        made.ready_hop = made.direct_hop
        if len(self._new) >= self._clear_new_at:
            self._clear_new()
        self._new[address] = made
        self._misses += 1
        return made

    def of_user(self, user: str) -> list[Recipient]:
        """What is known of the user and of the user's devices."""
        found = [known] if (known := self.get(user)) is not None else []
        devices = self._devices.get(user)
        if devices is not None:
            known_ones = [recipient for each in devices if (recipient := self.get(each)) is not None]
            self._devices[user] = {each.address: None for each in known_ones}
            found += known_ones
        return found

    def _made_device(self, address: str, recipient_id: bytes) -> Recipient:
        """A device has a To of its own; and it is found by its user, who registers."""
        target, to = request_uri(address), to_uri(address)
        lines = to_lines(to.removeprefix(_SIP), recipient_id, target.removeprefix(_SIP))
        made = Recipient(address, recipient_id, lines, self._context)
        made.target = target.removeprefix(_SIP)
        if len(self._devices) >= MAX_USERS_OF_DEVICES:
            self._devices = {}
            for each in self:
                if is_device(each.address):
                    self._devices.setdefault(user_of(each.address), {})[each.address] = None
        self._devices.setdefault(user_of(address), {})[address] = None
        return made

    def _clear_new(self) -> None:
        """Drop or promote the new ones, but for those with a delivery in flight."""
        busy: dict[str, Recipient] = {}
        self._clearings += 1
        promote = self._clearings % PROMOTE_EVERY == 0
        if promote:
            if self._misses > self._hits * MAX_MISSES_PER_HIT:
                self._drop_disposable()
            self._misses = self._hits = 0
        for address, each in self._new.items():
            if each.outgoing is not None:
                busy[address] = each
            elif promote or each.is_remembered:
                self._long_lived[address] = each
        self._new = busy
        # those with a delivery in flight are bounded elsewhere; do not go through them for each new one
        self._clear_new_at = max(min(self._limit, MAX_NEW), 2 * len(busy))
        if len(self._long_lived) >= self._make_room_at:
            self._make_room()

    def _make_room(self) -> None:
        """Drop the idle long-lived ones; those backed off, too, if that is not enough."""
        self._drop_disposable()
        if len(self._long_lived) > self._limit // 2:
            self._long_lived = {
                address: each for address, each in self._long_lived.items() if each.outgoing is not None
            }
        self._make_room_at = max(self._limit, 2 * len(self._long_lived))

    def _drop_disposable(self) -> None:
        self._long_lived = {
            address: each for address, each in self._long_lived.items() if not each.disposable
        }
