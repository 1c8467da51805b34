"""The TCP side of the user agent: receives requests and sends responses on the same connection."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from imc_common.sip.errors import SipError, SipParseError
from imc_common.sip.framing import PING, Framer
from imc_common.sip.message import Request, Response

Receive = Callable[[Request | Response], bytes | None]


class TcpServer:
    """Serves connections on one socket. ``receive`` returns the response to a message, or None."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._server: asyncio.Server
        self._connections: set[asyncio.StreamWriter] = set()

    @classmethod
    async def open(cls, sock: socket.socket, receive: Receive) -> TcpServer:
        """Listen on a bound socket."""
        server = cls(receive)
        server._server = await asyncio.start_server(server._serve, sock=sock)
        return server

    async def close(self) -> None:
        """Stop listening and close all connections."""
        self._server.close()
        for connection in list(self._connections):
            connection.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        framer = Framer()
        try:
            while data := await reader.read(65536):
                framer.receive(data)
                writer.write(self._responses(framer))
        except (SipError, OSError):
            pass  # after a malformed message the start of the next one is unknown
        finally:
            self._connections.discard(writer)
            writer.close()

    def _responses(self, framer: Framer) -> bytes:
        """The responses to all complete messages. Raises SipParseError after which the stream is unusable."""
        responses = b""
        while True:
            try:
                message = framer.next()
            except SipParseError as error:
                if error.fatal:
                    raise
                continue
            if message is None:
                return responses
            if message == PING:
                responses += b"\r\n"  # RFC 5626 §4.4.1
            elif not isinstance(message, str):
                responses += self._receive(message) or b""
