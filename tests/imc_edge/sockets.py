"""What tests of the transports share: a receiver that keeps what comes, and a network on free ports."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from imc_common.settings import Endpoint
from imc_common.sip import Request, Response, SipParseError
from imc_edge.flow import Flow
from imc_edge.transports.connection import ConnectionTimeouts
from imc_edge.transports.network import Network
from imc_edge.transports.pool import PoolLimits
from imc_edge.transports.tls import Tls, TlsFiles
from tests.patience import PATIENCE

MESSAGE = (
    b"MESSAGE sip:room@example.org SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\n"
    b"Content-Length: 2\r\n\r\nhi"
)


class Inbox:
    """A receiver that keeps everything."""

    def __init__(self, response: bytes | None = None) -> None:
        self.got: list[bytes] = []
        self.flows: list[Flow] = []
        self.refused: list[SipParseError] = []
        self.admitted = -1
        """Messages that are admitted; -1: all."""
        self._response = response

    def admits(self, _host: str) -> bool:
        """As long as some are left."""
        if self.admitted > 0:
            self.admitted -= 1
            return True
        return self.admitted < 0

    def receive(self, data: bytes, flow: Flow) -> None:
        self.got.append(data)
        self.flows.append(flow)
        if self._response is not None:
            flow.send(self._response)

    def response(self, data: bytes) -> None:
        self.got.append(data)

    def take(self, message: Request | Response, flow: Flow) -> None:
        self.receive(message.to_bytes(), flow)

    def refuse(self, error: SipParseError, flow: Flow) -> None:
        self.refused.append(error)
        flow.send(b"SIP/2.0 400 Bad Request\r\n\r\n")

    async def wait_for(self, count: int) -> None:
        """Return once so many messages came."""
        await until(lambda: len(self.got) >= count)


class Errors:
    """A `TransportUser` that keeps the errors."""

    def __init__(self) -> None:
        self.got: list[Exception] = []

    def transport_error(self, error: Exception) -> None:
        """Keep it."""
        self.got.append(error)


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Return as soon as the condition holds; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


def network(
    *listen: str,
    tls: TlsFiles | None = None,
    bounds: PoolLimits | None = None,
    timeouts: ConnectionTimeouts | None = None,
    advertise: str = "",
    shared: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Network:
    """A network that listens on the given endpoints; not started."""
    return Network(
        [Endpoint.parse(text) for text in listen],
        advertise=advertise,
        tls=Tls(tls or TlsFiles()),
        clock=clock,
        bounds=bounds or PoolLimits(),
        timeouts=timeouts or ConnectionTimeouts(),
        shared=shared,
    )


@asynccontextmanager
async def listening(inbox: Inbox, *listen: str, **settings: Any) -> AsyncIterator[Network]:
    """A network that is started now and closed at the end."""
    made = network(*listen, **settings)
    made.start(inbox)
    try:
        yield made
    finally:
        await made.close()
