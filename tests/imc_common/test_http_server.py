"""The HTTP server for operators, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from imc_common import http_server
from imc_common.http_server import Handler, HttpRequest, HttpResponse, HttpServer, ListenError
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


async def test_a_client_that_leaves_early_does_no_harm() -> None:
    """In the middle of a body."""
    async with served(echo) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab")
        await writer.drain()
        writer.close()
        assert (await sent(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_the_number_of_connections_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is closed without a response."""
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 1)
    async with served(echo) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET")
        await asyncio.sleep(0.05)
        got = b""
        with suppress(ConnectionError):  # a reset closes it as well
            got = await sent(port, b"GET / HTTP/1.1\r\n\r\n")
        writer.close()
    assert got == b""


async def test_an_address_in_use_is_reported() -> None:
    """With the address and the reason."""
    async with served(echo) as port:
        with pytest.raises(ListenError, match=f"127.0.0.1:{port}"):
            await HttpServer(echo).start("127.0.0.1", port)


async def test_a_server_that_never_started_can_be_closed() -> None:
    """And started afterwards."""
    server = HttpServer(echo)
    await server.close()
    assert (await server.start("127.0.0.1", 0))[1]
    await server.close()
