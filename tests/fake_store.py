"""A store on fakeredis: the scripts and replies of a real server, without starting one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import fakeredis
from redis.exceptions import ResponseError

from imc_common.store import Command, Entry, ReplyError, StoreUnreachable
from imc_common.store.xreadgroup import xreadgroup_command
from tests.checked_scripts import CheckedScripts


class FakeStore:
    """Implements `Store` on a fakeredis server; several may share one.

    ``unreachable`` simulates an outage.
    """

    def __init__(self, server: fakeredis.FakeServer | None = None) -> None:
        self.scripts = CheckedScripts()
        self.secret = b"secret"
        self.unreachable = False
        self.ran: list[list[Command]] = []
        self._client = fakeredis.FakeAsyncRedis(server=server or fakeredis.FakeServer(), protocol=2)
        self._connection: Any = None
        self._in_turn = asyncio.Lock()  # one connection: replies have to match the order of the commands

    def script(self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Command:
        return self.scripts.command(name, keys, args)

    async def run(self, commands: Sequence[Command], *, durable: bool = False) -> list[Any]:
        if self.unreachable:
            raise StoreUnreachable("unreachable")
        self.ran.append(list(commands))
        async with self._in_turn:
            return [await self._reply(command) for command in commands]

    async def read_new(
        self, group: str, streams: Sequence[str], count: int, block_ms: int | None
    ) -> list[tuple[str, list[Entry] | None]]:
        until = asyncio.get_running_loop().time() + (block_ms or 0) / 1000
        found: list[tuple[str, list[Entry] | None]] = []
        while not found:
            for stream in streams:
                (reply,) = await self.run([xreadgroup_command(group, (stream,), count, None)])
                if isinstance(reply, ReplyError):
                    raise reply
                if reply and reply[0][1]:
                    found.append((stream, [(i, fields) for i, fields in reply[0][1]]))
            if found or asyncio.get_running_loop().time() >= until:
                break
            await asyncio.sleep(0.005)
        return found

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.disconnect()
        await self._client.aclose()

    async def _reply(self, command: Command) -> Any:
        if command[0] == "EVALSHA":
            command = ("EVAL", self.scripts.source_of(str(command[1])), *command[2:])
        if self._connection is None:
            self._connection = await self._client.connection_pool.get_connection()
        await self._connection.send_command(*command)
        try:
            return await self._connection.read_response(disable_decoding=True)
        except ResponseError as error:
            code = getattr(error, "status_code", None)
            return ReplyError(f"{code} {error}" if code else str(error))
