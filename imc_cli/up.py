"""``imc up``: runs edges, workers and an embedded Valkey server on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import socket
import sys
from contextlib import ExitStack
from itertools import chain
from typing import Annotated

import typer

from imc_cli.demo import Cast, play
from imc_cli.embedded import embedded_valkey
from imc_cli.listening import check_free
from imc_cli.options import add_command
from imc_cli.processes import argv, environment
from imc_cli.readiness import Readiness
from imc_cli.supervisor import Child, ChildError, Supervisor
from imc_common.errors import ImcError
from imc_common.settings import Endpoint, Loaded, masked
from imc_common.settings.load import DEFAULT
from imc_common.settings.values import host_and_port, is_loopback

START_SECONDS = 60.0
EXIT_SECONDS = 5.0  # that a process may take to exit after its drain_timeout
LOOPBACK = ("127.0.0.0/8", "::1/128")
PORT_STEP = 10  # between the ports of two edges


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, up)


def up(
    loaded: Loaded,
    edges: Annotated[
        int,
        typer.Option(min=1, help="Number of edges; the ports of each are 10 above those of the one before."),
    ] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Number of workers.")] = 1,
    demo: Annotated[bool, typer.Option("--demo", help="Play the demo conversation first.")] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Exit after the demo; exit status 1 if it failed.")
    ] = False,
) -> None:
    """Run everything on this machine, on an embedded Valkey unless db_url is set. Ctrl-C stops it."""
    with ExitStack() as stack:
        try:
            listen = [_moved(loaded.settings.listen, number) for number in range(edges)]
            check_free(chain.from_iterable(listen), shared=loaded.settings.share_ports)
            url = loaded.settings.db_url
            if loaded.sources["db_url"] == DEFAULT:
                url = stack.enter_context(embedded_valkey(loaded.settings.data_dir))
            demo = demo or once
            quiet = demo and loaded.sources["log_level"] == DEFAULT  # show only the conversation
            log_level = "warning" if quiet else loaded.settings.log_level
            service = LocalService(loaded, url, listen, workers, log_level)
            status = asyncio.run(service.run(demo, once))
        except ImcError as error:
            typer.echo(f"imc up: {error}", err=True)
            status = 1
    raise typer.Exit(status)


class LocalService:
    """All processes of ``imc up`` except the embedded server."""

    def __init__(
        self, loaded: Loaded, url: str, listen: list[tuple[Endpoint, ...]], workers: int, log_level: str
    ) -> None:
        """``listen``: the addresses of each edge."""
        self._url = url
        self._drain = loaded.settings.drain_timeout + EXIT_SECONDS
        self._listen = listen
        self._status: dict[str, str] = {}
        self._children: list[Child] = []

        def add(name: str, module: str, **values: object) -> None:
            status = self._status[name] = _status_listen(loaded, len(self._children))
            values |= {
                "db_url": url,
                "log_level": log_level,
                "status_listen": status,
                **_destinations(loaded),
            }
            self._children.append(
                Child(name, argv(module, loaded), environment(loaded, os.environ, **values))
            )

        for number, each in enumerate(listen, 1):
            add(f"edge {number}", "imc_edge", listen=each)
        for number in range(1, workers + 1):
            add(f"worker {number}", "imc_worker")
        self._supervisor = Supervisor(self._children, lambda line: typer.echo(line, err=True))
        self._stop = asyncio.Event()

    async def run(self, demo: bool, once: bool) -> int:
        """Start, serve until a signal, drain. Returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._supervisor.signal, signal.SIGHUP)
        try:
            status = await self._until_stopped(self._serve(demo, once))
        finally:
            clean = await self._supervisor.stop(self._drain)
        return status if clean else 1

    def _end(self) -> None:
        """The first signal drains, the second stops all processes at once."""
        if self._stop.is_set():
            self._supervisor.signal(signal.SIGKILL)
            return
        self._stop.set()
        with contextlib.suppress(OSError):  # standard error may be closed
            typer.echo(
                "\nStopping: finishing what is in flight. Press Ctrl-C again to stop at once.", err=True
            )

    async def _until_stopped(self, serving: asyncio.Task[int]) -> int:
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait([serving, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in (serving, stopped):
            task.cancel()
        await asyncio.gather(stopped, return_exceptions=True)
        try:
            return await serving
        except asyncio.CancelledError:
            return 0

    def _serve(self, demo: bool, once: bool) -> asyncio.Task[int]:
        return asyncio.create_task(self._start_and_serve(demo, once))

    async def _start_and_serve(self, demo: bool, once: bool) -> int:
        with Readiness.of(child.name for child in self._children) as readiness:
            for child in self._children:
                child.environment = {**child.environment, "NOTIFY_SOCKET": str(readiness.paths[child.name])}
            await self._supervisor.start(lambda: asyncio.ensure_future(_all_ready(readiness)))
        first = self._listen[0][0]
        for number, listen in enumerate(self._listen, 1):
            typer.echo(f"Edge {number} listens on {', '.join(map(str, listen))}")
        for name, status in self._status.items():
            if status and not status.endswith(":0"):
                typer.echo(f"Status of {name}: http://{status}/readyz and /metrics")
        typer.echo(f"Data are in {masked(self._url)}\n")
        if demo:
            faults = await play(Cast((_reachable(first.host), first.port)), typer.echo)
            for fault in faults:
                typer.echo(f"FAULT  {fault}", err=True)
            if once:
                return 1 if faults else 0
        typer.echo(_how_to_chat(first))
        await self._stop.wait()
        return 0


async def _all_ready(readiness: Readiness) -> None:
    """Returns when every process serves. Raises ChildError after a while."""
    try:
        async with asyncio.timeout(START_SECONDS):
            await readiness.wait()
    except TimeoutError:
        late = ", ".join(readiness.missing())
        raise ChildError(
            f"not ready after {START_SECONDS:g} s: {late}. The log lines above say why."
        ) from None


def _destinations(loaded: Loaded) -> dict[str, object]:
    """Allow deliveries to users on this machine if all edges listen on loopback only."""
    here = all(is_loopback(endpoint.host) for endpoint in loaded.settings.listen)
    unset = loaded.sources["destination_networks"] == DEFAULT
    return {"destination_networks": LOOPBACK} if here and unset else {}


def _status_listen(loaded: Loaded, number: int) -> str:
    """`status_listen` of the process with this number: each has a port of its own, one above the other."""
    if not loaded.settings.status_listen:
        return ""
    host, port = host_and_port(loaded.settings.status_listen)
    port += number if port else 0
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _moved(listen: tuple[Endpoint, ...], number: int) -> tuple[Endpoint, ...]:
    """The addresses of the edge with this number. Port 0 is replaced with a free port, to know it here."""
    return tuple(
        endpoint._replace(port=endpoint.port + PORT_STEP * number if endpoint.port else _free_port(endpoint))
        for endpoint in listen
    )


def _free_port(endpoint: Endpoint) -> int:
    kind = socket.SOCK_DGRAM if endpoint.transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET, kind) as probe:
        probe.bind((endpoint.host, 0))
        port: int = probe.getsockname()[1]
        return port


def _reachable(host: str) -> str:
    """The address for reaching a listening host from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 # compared, not bound


def _how_to_chat(endpoint: Endpoint) -> str:
    imc = shlex.quote(os.path.relpath(sys.argv[0]))
    host = _reachable(endpoint.host)
    via = f"[{host}]:{endpoint.port}" if ":" in host else f"{host}:{endpoint.port}"
    chat = "  {} chat sip:{}@127.0.0.1:{} --room sip:chat-000@example.org --via {}"
    return "\n".join(
        [
            "",
            "To chat, run this in two more terminals (#join creates the room, #help lists the commands):",
            "",
            chat.format(imc, "alice", 5071, via),
            chat.format(imc, "bob", 5072, via),
            "",
            "Press Ctrl-C to stop everything.",
        ]
    )
