"""The status server of a process: what to scrape, and whether it lives and is ready."""

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


class StatusPages:
    """Answers GET and HEAD on three paths.

    `/livez` is 200 as long as the process' event loop turns. `/readyz` is 503 with the reason while `trouble`
    gives one. `/metrics` is made anew from numbers in memory: it asks nobody.
    """

    def __init__(self, metrics: Metrics, trouble: Callable[[], str]) -> None:
        """``trouble()``: why this process had better not be given work; empty: it is ready."""
        self._metrics = metrics
        self._trouble = trouble
        build = build_info()
        metrics.gauge(
            "imc_build_info", "The build this process runs; always 1.", lambda: {build: 1.0}, build._fields
        )
        metrics.gauge("imc_ready", "1 if this process is ready, else 0.", lambda: float(not trouble()))
        self._server = HttpServer(self.answer)

    async def start(self, settings: Settings) -> tuple[str, int] | None:
        """Serve on `status_listen`; gives the address, None without one.

        A process whose neighbour has the address goes on without status, because messages matter more.
        """
        if not settings.status_listen:
            return None
        try:
            address = await self._server.start(*host_and_port(settings.status_listen))
        except ListenError as error:
            log.error("status is not served", reason=str(error))  # noqa: TRY400 # the reason says it all
            return None
        log.info("status is served", host=address[0], port=address[1])
        return address

    async def close(self) -> None:
        """Serve no more."""
        await self._server.close()

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """The answer to one request."""
        if request.path not in {"/metrics", "/livez", "/readyz"}:
            return HttpResponse(404)
        if request.method not in {"GET", "HEAD"}:
            return HttpResponse(405, headers=(("Allow", "GET, HEAD"),))
        if request.path == "/metrics":
            return HttpResponse(200, self._metrics.page(), CONTENT_TYPE_LATEST)
        trouble = self._trouble() if request.path == "/readyz" else ""
        return HttpResponse(503, f"{trouble}\n".encode()) if trouble else HttpResponse(200, b"ok\n")
