"""A small HTTP/1.1 server for operators: metrics, health, MI. Not for public networks.

Each connection serves one request and is closed. Size and time of a request are limited. If there are too
many connections, a new one closes an idle one. So a slow or hostile client harms no other.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

import structlog

from imc_common.errors import ImcError
from imc_common.sources import source_of

MAX_HEAD = 8192
MAX_BODY = 65536
MAX_CONNECTIONS = 64
"""With more, one is closed: see `HttpServer`."""
TIMEOUT_SECONDS = 10.0
"""Time limit for reading a request, and for sending its response and closing."""

_CONTENT_LENGTH = re.compile(r"[0-9]{1,10}").fullmatch

log = structlog.get_logger()


class HttpListenError(ImcError):
    """The server cannot listen on an address. The error says which one and why."""


class HttpRequest(NamedTuple):
    """A complete request. Header names are in lower case; `peer` is the client's IP address."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    peer: str = ""


class HttpResponse(NamedTuple):
    """The response of a handler."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


class _Refused(Exception):
    """A request that is refused before it reaches the handler."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Connection:
    """One client. Its handler is never interrupted; before and after it, the connection may be closed."""

    __slots__ = ("is_handling", "is_waiting", "peer", "source", "writer")

    def __init__(self, peer: str, writer: asyncio.StreamWriter) -> None:
        self.peer = peer
        self.source = source_of(peer)
        self.writer = writer
        self.is_waiting = True
        """For a complete request."""
        self.is_handling = False


class HttpServer:
    """Listens on one address and passes each request to `handler`. An exception in it becomes a 500.

    A connection beyond `MAX_CONNECTIONS` closes another one: first of those that have not sent a complete
    request, then of those that do not read their response. It is the oldest of the source that has most; a
    source is one as of `imc_common.sources`.
    """

    def __init__(self, handler: Handler, *, seconds: float = TIMEOUT_SECONDS) -> None:
        self._handler = handler
        self._seconds = seconds
        self._server: asyncio.Server | None = None
        self._connections: dict[_Connection, None] = {}
        """The oldest first."""

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the address, with the actual port if `port` is 0. Raises HttpListenError."""
        try:
            self._server = await asyncio.start_server(self._connected, host, port, limit=MAX_HEAD)
        except OSError as error:
            raise HttpListenError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def close(self) -> None:
        """Stop listening. Open connections end with the process."""
        if self._server is not None:
            self._server.close()
            self._server = None
            await asyncio.sleep(0)  # the sockets close in the next iteration of the event loop

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = writer.get_extra_info("peername")
        connection = _Connection(name[0] if name else "", writer)
        try:
            if len(self._connections) < MAX_CONNECTIONS or self._close_one():
                self._connections[connection] = None
                await self._serve(reader, connection)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the client is gone, or too slow
        finally:
            self._connections.pop(connection, None)
            writer.transport.abort()  # what it has not read by now is lost

    def _close_one(self) -> bool:
        """Close the connection that matters least; False if each one has a request at work."""
        candidates = [each for each in self._connections if each.is_waiting]
        candidates = candidates or [each for each in self._connections if not each.is_handling]
        if not candidates:
            return False
        most = Counter(each.source for each in candidates).most_common(1)[0][0]
        victim = next(each for each in candidates if each.source == most)
        del self._connections[victim]
        victim.writer.transport.abort()
        return True

    async def _serve(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        request: HttpRequest | None = None
        try:
            async with asyncio.timeout(self._seconds):
                request = await _read(reader, connection.peer)
        except _Refused as refusal:
            response = HttpResponse(refusal.status)
        else:
            connection.is_waiting, connection.is_handling = False, True
            response = await self._handled(request)
        connection.is_waiting = connection.is_handling = False
        head_only = request is not None and request.method == "HEAD"
        writer = connection.writer
        async with asyncio.timeout(self._seconds):
            writer.write(_written(response, head_only=head_only))
            writer.close()
            await writer.wait_closed()

    async def _handled(self, request: HttpRequest) -> HttpResponse:
        try:
            return await self._handler(request)
        except Exception:
            log.exception("http request failed", path=request.path)
            return HttpResponse(500)


async def _read(reader: asyncio.StreamReader, peer: str) -> HttpRequest:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.LimitOverrunError:
        raise _Refused(431) from None
    start, *lines = head[:-4].split("\r\n")
    words = start.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise _Refused(400)
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip() or name.lower() in headers:
            raise _Refused(400)
        headers[name.lower()] = value.strip(" \t")
    if "transfer-encoding" in headers:
        raise _Refused(501)
    length = headers.get("content-length", "0")
    if _CONTENT_LENGTH(length) is None:
        raise _Refused(400)
    if int(length) > MAX_BODY:
        raise _Refused(413)
    body = await reader.readexactly(int(length))
    return HttpRequest(words[0], words[1].partition("?")[0], headers, body, peer)


def _written(response: HttpResponse, *, head_only: bool) -> bytes:
    phrase = HTTPStatus(response.status).phrase
    body = response.body or (f"{phrase}\n".encode() if response.status not in {204, 304} else b"")
    lines = [f"HTTP/1.1 {response.status} {phrase}", f"Content-Length: {len(body)}", "Connection: close"]
    if body:
        lines.append(f"Content-Type: {response.content_type}")
    lines += [f"{name}: {value}" for name, value in response.headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if head_only else body)
