"""MI in this process: by FIFO, HTTP, or both, depending on the settings."""

from __future__ import annotations

import asyncio
import hmac
import time
from pathlib import Path

import structlog

from imc_common.http_server import HttpListenError, HttpRequest, HttpResponse, HttpServer
from imc_common.settings import Settings
from imc_common.settings.values import host_and_port, is_loopback
from imc_common.store.protocols import CommandRunner
from imc_worker.mi import jsonrpc
from imc_worker.mi.commands import MiCommands
from imc_worker.mi.fifo import Fifo
from imc_worker.mi.fifo_protocol import FifoRequest, tree_of, written_tree
from imc_worker.mi.jsonrpc import MiError
from imc_worker.mi.operate import Operator
from imc_worker.mi.rooms import Rooms
from imc_worker.mi.users import UserRecords

PATH = "/mi"
RETRY_SECONDS = 5.0
"""Between attempts to listen while another process of this machine serves MI."""

log = structlog.get_logger()


class MiServer:
    """Serves `mi_fifo` and `mi_listen`. If another process has them, it waits until that one ends."""

    def __init__(self, store: CommandRunner, settings: Settings) -> None:
        self._settings = settings
        self._token = settings.mi_token
        rooms = Rooms(store, settings)
        operator = Operator(store, rooms, settings, time.time)
        self._commands = MiCommands(rooms, operator, UserRecords(store, rooms, operator, settings), settings)
        self._http = HttpServer(self.respond_http)
        self.address: tuple[str, int] | None = None
        """The address of HTTP, once it is served."""

    async def run(self) -> None:
        """Serve until cancelled. Without either setting it does nothing."""
        async with asyncio.TaskGroup() as tasks:
            if self._settings.mi_fifo:
                fifo = Fifo(Path(self._settings.mi_fifo), self._settings.mi_reply_dir, self.respond_fifo)
                tasks.create_task(fifo.run())
            if self._settings.mi_listen:
                tasks.create_task(self._run_http())

    async def respond_fifo(self, request: FifoRequest) -> str | None:
        """The reply to a request by FIFO, in the protocol of the request."""
        by = f"fifo {request.reply}".rstrip()
        if request.kind == "json":
            reply = await jsonrpc.respond(
                request.text, lambda name, params: self._commands.call(name, params, by)
            )
            return None if reply is None else reply + "\n"
        command, args = request.command, request.args
        if command not in self._commands.table:
            return f"500 command '{command}' not available\n"
        if args is None:
            return f"400 parse error in command '{command}'\n"
        table = self._commands.table[command]
        takes_list = table.params == ("statistics",)
        params = [list(args)] if takes_list and args else list(args) if table.params else []
        try:
            result = await self._commands.call(command, params, by)
        except MiError as error:
            if error.code < 0:
                return f"500 command '{command}' failed\n"
            return written_tree(error.code, error.message)
        except Exception:
            log.exception("mi command failed", command=command)
            return f"500 command '{command}' failed\n"
        return written_tree(200, "OK", () if result == "OK" else tree_of(result))

    async def respond_http(self, request: HttpRequest) -> HttpResponse:
        """The response to a request by HTTP: JSON-RPC in a POST to /mi."""
        refused = self._refused(request)
        if refused is not None:
            return refused
        by = f"http {request.peer}"
        reply = await jsonrpc.respond(
            request.body, lambda name, params: self._commands.call(name, params, by)
        )
        return HttpResponse(204) if reply is None else HttpResponse(200, reply.encode(), "application/json")

    def _refused(self, request: HttpRequest) -> HttpResponse | None:
        if request.path != PATH:
            return HttpResponse(404)
        if request.method != "POST":
            return HttpResponse(405, headers=(("Allow", "POST"),))
        if self._token:
            given = request.headers.get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
                log.warning("mi request without valid token", peer=request.peer)
                return HttpResponse(401, headers=(("WWW-Authenticate", "Bearer"),))
        elif not _named_by_address(request.headers.get("host", "")):
            # DNS rebinding: a web page whose name was made to point here sends that name
            return HttpResponse(403)
        # a web page can send this type only after a preflight request, which gets 405
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return HttpResponse(415)
        return None

    async def _run_http(self) -> None:
        host, port = host_and_port(self._settings.mi_listen)
        waiting = False
        try:
            while self.address is None:
                try:
                    self.address = await self._http.start(host, port)
                except HttpListenError as error:
                    if not waiting:
                        log.warning("mi does not listen on http", reason=str(error))
                    waiting = True
                    await asyncio.sleep(RETRY_SECONDS)
            log.info("mi listens on http", host=self.address[0], port=self.address[1], path=PATH)
            await asyncio.Event().wait()
        finally:
            await self._http.close()


def _named_by_address(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition("]")[2].count(":") else host
    return not host or is_loopback(name.strip("[]"))
