"""MI over HTTP and FIFO, without processes."""

from __future__ import annotations

import asyncio
import json

import pytest

from imc_common.http_server import HttpRequest, HttpResponse, HttpServer
from imc_common.settings import Settings
from imc_worker.mi import server as server_module
from imc_worker.mi.fifo_protocol import FifoRequest
from imc_worker.mi.server import MiServer
from tests.fake_store import FakeStore
from tests.patience import PATIENCE

JSON = {"content-type": "application/json; charset=utf-8", "host": "127.0.0.1:8888"}
WHICH = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "which"}).encode()


def post(body: bytes = WHICH, path: str = "/mi", **headers: str) -> HttpRequest:
    """A request as clients send it."""
    return HttpRequest("POST", path, JSON | headers, body, "127.0.0.1")


async def status(settings: Settings, request: HttpRequest) -> int:
    """The status of the response."""
    return (await MiServer(FakeStore(), settings).respond_http(request)).status


async def test_http_refuses_other_paths_methods_types_and_hosts() -> None:
    """And host names that are no address of this machine."""
    assert await status(Settings(), post()) == 200
    assert await status(Settings(), post(path="/")) == 404
    assert await status(Settings(), post()._replace(method="GET")) == 405
    assert await status(Settings(), post(**{"content-type": "text/plain"})) == 415
    for host in ("localhost", "[::1]:8888", "127.0.0.1", ""):
        assert await status(Settings(), post(host=host)) == 200
    assert await status(Settings(), post(host="evil.example:8888")) == 403


async def test_a_token_is_required_if_one_is_set() -> None:
    """Then any host name is accepted."""
    settings = Settings(mi_listen="0.0.0.0:1", mi_token="secret")
    assert await status(settings, post()) == 401
    assert await status(settings, post(authorization="Bearer wrong")) == 401
    assert await status(settings, post(authorization="Bearer secret", host="imc.example")) == 200


async def test_an_unexpected_exception_is_500_in_the_old_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server continues."""
    server = MiServer(FakeStore(), Settings())

    async def breaks(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(server._commands, "call", breaks)
    reply = await server.respond_fifo(FifoRequest("tree", "r", command="which"))
    assert reply == "500 command 'which' failed\n"


async def test_a_change_in_the_old_protocol_gets_200_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    """A status line and the empty line."""
    server = MiServer(FakeStore(), Settings())

    async def done(*_: object) -> str:
        return "OK"

    monkeypatch.setattr(server._commands, "call", done)
    reply = await server.respond_fifo(FifoRequest("tree", "r", command="imc_destroy_room", args=("a@h",)))
    assert reply == "200 OK\n\n"


async def test_a_port_in_use_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the other process that serves MI ends."""
    monkeypatch.setattr(server_module, "RETRY_SECONDS", 0.01)

    async def never(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(404)

    neighbour = HttpServer(never)
    _, port = await neighbour.start("127.0.0.1", 0)
    server = MiServer(FakeStore(), Settings(mi_listen=f"127.0.0.1:{port}"))
    serving = asyncio.create_task(server.run())
    await asyncio.sleep(0.05)
    assert server.address is None
    await neighbour.close()
    async with asyncio.timeout(PATIENCE):
        while server.address is None:
            await asyncio.sleep(0.01)
    serving.cancel()
    await asyncio.wait([serving])
