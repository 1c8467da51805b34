"""Changes by an operator: requests in the in-streams like those of users, handled by the same scripts.

Such a request has the field `operator`, so it needs no role. Its result is found by reading the room
afterwards: the only other response to a request are the notices that members get.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from imc_common import keys
from imc_common.address import domain
from imc_common.rooms.request import RequestData, RoomRequest
from imc_common.rooms.roles import ROLES
from imc_common.settings import Settings
from imc_common.store import Command
from imc_common.store.protocols import CommandRunner
from imc_worker.mi.jsonrpc import MiError
from imc_worker.mi.rooms import Rooms, RoomState
from imc_worker.mi.run_all import run_all

MAX_NOTICE = 1000
"""Bytes of a notice: with its headers it fits a datagram (RFC 3428 §8)."""
WAIT_SECONDS = 5.0
"""How long to wait for a worker; after that the request stays in the stream."""
FIRST_LOOK = 0.005
LAST_LOOK = 0.1
_PER_ROUND = 100
_ROUND_SECONDS = 0.05  # between two rounds of a notice to all rooms; deliveries take longer


class Operator:
    """Changes rooms in an operator's name, `manager` at the room's host. Errors are `MiError`s."""

    def __init__(
        self, store: CommandRunner, rooms: Rooms, settings: Settings, wall: Callable[[], float]
    ) -> None:
        """``wall()``: seconds since the epoch."""
        self._store = store
        self._rooms = rooms
        self._settings = settings
        self._wall = wall

    async def create(self, address: str, owner: str, *, private: bool) -> None:
        """Create a room for this owner, who is told."""
        if await self._rooms.get(address) is not None:
            raise MiError(409, "room exists")
        await self._send([RoomRequest("create", owner, address, private=private)])
        room = await self._rooms.get(address)
        if room is None or room.members.get(owner) != "owner":
            raise MiError(403, "refused", "the owner probably has the maximum of rooms")

    async def destroy(self, address: str) -> None:
        """Destroy a room; its members are told."""
        await self.room(address)
        await self._send([self._request("destroy", address)])
        if await self._rooms.get(address) is not None:
            raise MiError(403, "refused")

    async def add(self, address: str, user: str) -> None:
        """Make a user a member without an invitation; all members are told."""
        room = await self.room(address)
        if room.members.get(user) in ROLES:
            raise MiError(409, "member already")
        await self._send([self._request("add", address, user)])
        if (await self.room(address)).members.get(user) not in ROLES:
            raise MiError(403, "refused", "the room is full, or the user is banned")

    async def remove(self, address: str, user: str) -> None:
        """Remove a user; the user and the members are told. An owner has to get another role first."""
        room = await self.room(address)
        if user not in room.members:
            raise MiError(404, "no such member")
        if room.members[user] == "owner":
            raise MiError(409, "is an owner", "give another role first")
        await self._send([self._request("remove", address, user)])
        if user in (await self.room(address)).members:
            raise MiError(403, "refused")

    async def set_role(self, address: str, user: str, role: str) -> None:
        """Give a member another role; all members are told. The last owner stays owner."""
        room = await self.room(address)
        if role not in ROLES:
            raise MiError(400, "bad param", f"role is one of {', '.join(ROLES)}")
        if room.members.get(user) not in ROLES:
            raise MiError(404, "no such member")
        if room.members[user] == role:
            return
        if _is_last_owner(room, user):
            raise MiError(409, "is the last owner")
        await self._send([self._request("modify", address, user, role)])
        if (await self.room(address)).members.get(user) != role:
            raise MiError(403, "refused", "the user probably owns the maximum of rooms")

    async def kick(self, user: str) -> tuple[list[str], list[str]]:
        """Remove a user from every room; returns these rooms, and those where the user is the last owner."""
        left, kept = [], []
        async for page in self._rooms.pages():
            requests = []
            for room in page:
                if user not in room.members:
                    continue
                if _is_last_owner(room, user):
                    kept.append(room.address)
                    continue
                if room.members[user] == "owner":
                    requests.append(self._request("modify", room.address, user, "member"))
                requests.append(self._request("remove", room.address, user))
                left.append(room.address)
            await self._send(requests)
        return sorted(left), sorted(kept)

    async def notice(self, text: str, address: str = "") -> int:
        """Send a notice to all members of a room, or of all rooms; returns the number of rooms."""
        if not text or len(text.encode()) > MAX_NOTICE or any(ord(char) < 32 for char in text):
            raise MiError(400, "bad param", f"text of 1 to {MAX_NOTICE} bytes, without control characters")
        if address:
            await self.room(address)
            await self._send([self._request("message", address, text=text)])
            return 1
        count = 0
        async for page in self._rooms.pages():
            for first in range(0, len(page), _PER_ROUND):
                some = page[first : first + _PER_ROUND]
                await self._put([self._request("message", room.address, text=text) for room in some])
                count += len(some)
                await asyncio.sleep(_ROUND_SECONDS)
        return count

    async def room(self, address: str) -> RoomState:
        """The room of this address; MiError 404 if it does not exist."""
        room = await self._rooms.get(address)
        if room is None:
            raise MiError(404, "no such room")
        return room

    def _request(
        self, kind: str, address: str, user: str = "", role: str = "", text: str = ""
    ) -> RoomRequest:
        sender = f"{self._settings.manager or 'operator'}@{domain(address)}"
        data = RequestData("text/plain", text.encode()).pack()
        return RoomRequest(kind, sender, address, user=user, role=role, data=data)

    async def _send(self, requests: Sequence[RoomRequest]) -> None:
        """Append requests and wait until workers have handled all of them."""
        waiting = await self._put(requests)
        look, until = FIRST_LOOK, asyncio.get_running_loop().time() + WAIT_SECONDS
        while waiting:
            await asyncio.sleep(look)
            look = min(2 * look, LAST_LOOK)
            replies = await run_all(
                self._store, [("XRANGE", stream, entry, entry) for stream, entry in waiting]
            )
            waiting = [one for one, found in zip(waiting, replies, strict=True) if found]
            if waiting and asyncio.get_running_loop().time() > until:
                raise MiError(504, "no worker has handled it yet", "it stays in the stream until one does")

    async def _put(self, requests: Sequence[RoomRequest]) -> list[tuple[str, Any]]:
        """Append requests to their streams; returns stream and entry id of each."""
        streams = [keys.requests(keys.shard_of(one.room, self._settings.hash_size)) for one in requests]
        at = int(self._wall() * 1000)
        commands: list[Command] = []
        for stream, request in zip(streams, requests, strict=True):
            data = replace(RequestData.unpack(request.data), call_id=f"mi-{secrets.token_hex(8)}", at=at)
            fields = replace(request, data=data.pack()).to_fields()
            commands.append(("XADD", stream, "*", *fields, "operator", "1"))
        return list(zip(streams, await run_all(self._store, commands), strict=True))


def _is_last_owner(room: RoomState, user: str) -> bool:
    return [one for one, role in room.members.items() if role == "owner"] == [user]
