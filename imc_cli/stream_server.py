"""The TCP side of a terminal user: takes requests on connections and answers on the same ones."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from imc_common.sip.errors import SipError, SipParseError
from imc_common.sip.framing import PING, Framer
from imc_common.sip.message import Request, Response

Receive = Callable[[Request | Response], bytes | None]


class StreamServer:
    """Serves connections on one socket; ``receive`` gives the answer to a message, None for none."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._server: asyncio.Server
        self._connections: set[asyncio.StreamWriter] = set()

    @classmethod
    async def open(cls, sock: socket.socket, receive: Receive) -> StreamServer:
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
                writer.write(self._answers(framer))
        except (SipError, OSError):
            pass  # after a broken message nobody can tell where the next one starts
        finally:
            self._connections.discard(writer)
            writer.close()

    def _answers(self, framer: Framer) -> bytes:
        """The answers to all messages that are complete now. Raises SipParseError if the stream is broken."""
        answers = b""
        while True:
            try:
                message = framer.next()
            except SipParseError as error:
                if error.fatal:
                    raise
                continue
            if message is None:
                return answers
            if message == PING:
                answers += b"\r\n"  # RFC 5626 §4.4.1
            elif not isinstance(message, str):
                answers += self._receive(message) or b""
