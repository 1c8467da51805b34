"""The status server of a process: metrics, liveness and readiness."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from prometheus_client import CONTENT_TYPE_LATEST

from imc_common.build_info import build_info
from imc_common.http_server import HttpRequest, HttpResponse, HttpServer, ListenError
from imc_common.metrics import Metrics
from imc_common.settings import Settings
from imc_common.settings.values import host_and_port

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

    async def start(self, settings: Settings) -> tuple[str, int] | None:
        """Serve on `status_listen`; returns the address. None without the setting, or if it cannot listen.

        A process that cannot listen there runs without status, because messages are more important.
        """
        if not settings.status_listen:
            return None
        try:
            address = await self._server.start(*host_and_port(settings.status_listen))
        except ListenError as error:
            log.error("status server not started", reason=str(error))  # noqa: TRY400 # the reason says it all
            return None
        log.info("status server started", host=address[0], port=address[1])
        return address

    async def close(self) -> None:
        """Stop serving."""
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
