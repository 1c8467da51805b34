"""The HTTP server for operators, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from imc_common import http_server
from imc_common.http_server import (
    MAX_CONNECTIONS,
    Handler,
    HttpListenError,
    HttpRequest,
    HttpResponse,
    HttpServer,
    _Connection,
)
from tests.patience import PATIENCE


@asynccontextmanager
async def served(handler: Handler, seconds: float = PATIENCE) -> AsyncIterator[int]:
    """The port of a server with this handler."""
    server = HttpServer(handler, seconds=seconds)
    _, port = await server.start("127.0.0.1", 0)
    try:
        yield port
    finally:
        await server.close()


async def sent(port: int, data: bytes) -> bytes:
    """All bytes of the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), PATIENCE)
    finally:
        writer.close()


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


async def echo(request: HttpRequest) -> HttpResponse:
    """Respond with the parsed request."""
    return HttpResponse(200, f"{request.method} {request.path} {request.peer} {request.body!r}".encode())


async def test_a_request_reaches_the_handler_and_its_response_the_client() -> None:
    """Method, path without query, body and the client's address. Then the connection is closed."""
    async with served(echo) as port:
        response = await sent(port, b"POST /mi?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Connection: close\r\n" in response
    assert response.endswith(b"\r\n\r\nPOST /mi 127.0.0.1 b'hi'")


async def test_head_gets_the_head_only() -> None:
    """RFC 9110 §9.3.2, with the length that GET would have."""
    async with served(echo) as port:
        response = await sent(port, b"HEAD / HTTP/1.1\r\n\r\n")
    assert response.endswith(b"\r\n\r\n")
    assert b"Content-Length: 20\r\n" in response


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"GET / FTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 70000 + b"\r\n\r\n", 431),
    ],
)
async def test_malformed_requests_are_refused(request_bytes: bytes, status: int) -> None:
    """They do not reach the handler."""

    async def never(_request: HttpRequest) -> HttpResponse:
        pytest.fail("the handler was called")

    async with served(never) as port:
        assert (await sent(port, request_bytes)).startswith(b"HTTP/1.1 %d " % status)


async def test_a_failing_handler_causes_a_500() -> None:
    """The server continues."""

    async def fails(_request: HttpRequest) -> HttpResponse:
        raise RuntimeError("broken")

    async with served(fails) as port:
        for _ in range(2):
            assert (await sent(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 500 ")


async def test_a_silent_client_is_disconnected() -> None:
    """After the time limit, without a response."""
    async with served(echo, seconds=0.05) as port:
        assert await sent(port, b"GET / HT") == b""


async def test_a_client_that_sends_byte_by_byte_is_disconnected() -> None:
    """The time limit is for the whole request: no byte prolongs it."""
    async with served(echo, seconds=0.3) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        ended = asyncio.ensure_future(reader.read())
        async with asyncio.timeout(PATIENCE):
            while not ended.done():
                with suppress(ConnectionError):
                    writer.write(b"x")
                    await writer.drain()
                await asyncio.sleep(0.02)
        with suppress(ConnectionError):
            assert await ended == b""
        writer.close()


async def test_a_client_that_leaves_early_does_no_harm() -> None:
    """In the middle of a body."""
    async with served(echo) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab")
        await writer.drain()
        writer.close()
        assert (await sent(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


GET = b"GET / HTTP/1.1\r\n\r\n"


class Client:
    """A connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def rest(self) -> bytes:
        """All that still comes until the server closes, by whatever means."""
        with suppress(ConnectionError):
            return await asyncio.wait_for(self.reader.read(), PATIENCE)
        return b""


@asynccontextmanager
async def clients(port: int) -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """A function that connects and sends something; all connections are closed at the end."""
    made: list[Client] = []

    async def connect(data: bytes = b"GET", local: str = "127.0.0.1") -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", port, local_addr=(local, 0)))
        made.append(client)
        client.writer.write(data)
        return client

    try:
        yield connect
    finally:
        for client in made:
            client.writer.close()
            client.writer.transport.abort()
        await asyncio.sleep(0)


async def test_idle_connections_are_closed_for_new_ones() -> None:
    """The oldest first, so that `/livez` is always served."""
    async with served(echo) as port, clients(port) as connect:
        silent = [await connect() for _ in range(MAX_CONNECTIONS + 3)]
        assert (await sent(port, GET)).startswith(b"HTTP/1.1 200 ")
        for client in silent[:4]:
            assert await client.rest() == b""
        silent[4].writer.write(GET[3:])
        assert (await silent[4].rest()).startswith(b"HTTP/1.1 200 ")


async def test_the_client_with_most_connections_loses_one_first() -> None:
    """However old that of another client is."""
    async with served(echo) as port, clients(port) as connect:
        other = await connect(local="127.0.0.2")
        many = [await connect() for _ in range(MAX_CONNECTIONS)]
        assert await many[0].rest() == b""
        other.writer.write(GET[3:])
        assert (await other.rest()).startswith(b"HTTP/1.1 200 ")


class Writer:
    """Notes that its connection was closed."""

    def __init__(self) -> None:
        self.transport = self
        self.is_closed = False

    def abort(self) -> None:
        self.is_closed = True


async def test_the_addresses_of_one_ipv6_network_are_one_client() -> None:
    """One host may own a /64, and then has an address for each connection."""
    server = HttpServer(echo)
    peers = ["192.0.2.1", "192.0.2.1", *(f"2001:db8::{number}" for number in range(1, 4)), "2001:db8:0:1::1"]
    writers = [Writer() for _ in peers]
    for peer, writer in zip(peers, writers, strict=True):
        server._connections[_Connection(peer, writer)] = None  # type: ignore[arg-type]
    assert server._close_one()
    assert [writer.is_closed for writer in writers] == [False, False, True, False, False, False]


async def test_requests_at_work_are_not_interrupted_by_new_connections() -> None:
    """An MI command is carried out to its end. If all connections are at work, a new one is closed."""
    going_on, working = asyncio.Event(), asyncio.Semaphore(0)

    async def slow(_request: HttpRequest) -> HttpResponse:
        working.release()
        await going_on.wait()
        return HttpResponse(200)

    async with served(slow) as port, clients(port) as connect:
        busy = [await connect(GET) for _ in range(MAX_CONNECTIONS)]
        for _ in busy:
            await asyncio.wait_for(working.acquire(), PATIENCE)
        assert await (await connect(GET)).rest() == b""
        going_on.set()
        for client in busy:
            assert (await client.rest()).startswith(b"HTTP/1.1 200 ")


async def big(_request: HttpRequest) -> HttpResponse:
    """Respond with more than the kernel's buffers hold."""
    return HttpResponse(200, b"x" * 20_000_000)


async def test_a_client_that_does_not_read_its_response_is_disconnected() -> None:
    """After the time limit: it must not keep a connection for ever."""
    server = HttpServer(big, seconds=0.1)
    _, port = await server.start("127.0.0.1", 0)
    async with clients(port) as connect:
        await connect(GET)
        await until(lambda: bool(server._connections))
        await until(lambda: not server._connections)
        await server.close()


async def test_clients_that_do_not_read_are_closed_for_new_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before their time is over."""
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 3)
    server = HttpServer(big, seconds=PATIENCE)
    _, port = await server.start("127.0.0.1", 0)
    async with clients(port) as connect:
        for _ in range(3):
            await connect(GET)
        await until(lambda: len(server._connections) == 3)
        await until(lambda: not any(each.is_waiting or each.is_handling for each in server._connections))
        assert (await sent(port, GET)).startswith(b"HTTP/1.1 200 ")
        await server.close()


async def test_an_address_in_use_is_reported() -> None:
    """With the address and the reason."""
    async with served(echo) as port:
        with pytest.raises(HttpListenError, match=f"127.0.0.1:{port}"):
            await HttpServer(echo).start("127.0.0.1", port)


async def test_a_server_that_never_started_can_be_closed() -> None:
    """And started afterwards."""
    server = HttpServer(echo)
    await server.close()
    assert (await server.start("127.0.0.1", 0))[1]
    await server.close()
