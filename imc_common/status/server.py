"""The status server of a process: metrics, liveness and readiness."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog
from prometheus_client import CONTENT_TYPE_LATEST

from imc_common.build_info import build_info
from imc_common.http_server import HttpListenError, HttpRequest, HttpResponse, HttpServer
from imc_common.metrics import Metrics
from imc_common.settings import Settings
from imc_common.settings.values import host_and_port

RETRY_SECONDS = 5.0
"""Between attempts to listen on an address that another process has."""

log = structlog.get_logger()


class StatusServer:
    """Serves GET and HEAD on three paths.

    `/livez` returns 200 while the event loop of the process runs. `/readyz` returns 503 with the reason while
    `trouble` returns one. `/metrics` is built from numbers in memory, without a request to Redis.
    """

    def __init__(self, metrics: Metrics, trouble: Callable[[], str]) -> None:
        """``trouble()``: why this process is not ready; empty if it is ready."""
        self._metrics = metrics
        self._trouble = trouble
        build = build_info()
        metrics.gauge(
            "imc_build_info", "The build this process runs; always 1.", lambda: {build: 1.0}, build._fields
        )
        metrics.gauge("imc_ready", "1 if this process is ready, else 0.", lambda: float(not trouble()))
        self._server = HttpServer(self.respond)
        self._retrying: asyncio.Task[None] | None = None

    async def start(self, settings: Settings) -> tuple[str, int] | None:
        """Serve on `status_listen`; returns the address. None without it, or if it cannot listen yet.

        A process that cannot listen there runs without status, because messages are more important. It tries
        again until it can: the address may be that of the process which this one replaces.
        """
        if not settings.status_listen:
            return None
        host, port = host_and_port(settings.status_listen)
        try:
            return await self._listen(host, port)
        except HttpListenError as error:
            hint = "give each process of a machine another status_listen"
            log.error("status server not started", reason=str(error), hint=hint)  # noqa: TRY400 # says it all
        self._retrying = asyncio.create_task(self._retry(host, port))
        return None

    async def _listen(self, host: str, port: int) -> tuple[str, int]:
        address = await self._server.start(host, port)
        log.info("status server started", host=address[0], port=address[1])
        return address

    async def _retry(self, host: str, port: int) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            with suppress(HttpListenError):
                await self._listen(host, port)
                return

    async def close(self) -> None:
        """Stop serving."""
        if self._retrying is not None:
            self._retrying.cancel()
        await self._server.close()

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """The response to one request."""
        if request.path not in {"/metrics", "/livez", "/readyz"}:
            return HttpResponse(404)
        if request.method not in {"GET", "HEAD"}:
            return HttpResponse(405, headers=(("Allow", "GET, HEAD"),))
        if request.path == "/metrics":
            return HttpResponse(200, self._metrics.page(), CONTENT_TYPE_LATEST)
        trouble = self._trouble() if request.path == "/readyz" else ""
        return HttpResponse(503, f"{trouble}\n".encode()) if trouble else HttpResponse(200, b"ok\n")
