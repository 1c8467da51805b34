"""``imc top``: the state of the whole service, live on one screen."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from imc_cli.failure import failure_text
from imc_cli.options import add_command
from imc_common.settings import Loaded

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.table import Table

    from imc_cli.overview import Overview, Shard

HEAD_LINES = 6
"""Lines of the screen besides table rows."""
MIN_WIDE_COLUMNS = 120
"""Minimum width at which all tables fit next to each other."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, top)


def top(
    loaded: Loaded,
    every: Annotated[float, typer.Option("--every", min=0.2, help="Seconds between two updates.")] = 1.0,
    seconds: Annotated[
        float, typer.Option("--seconds", help="Exit after so many seconds; 0: at q or Ctrl-C.")
    ] = 0.0,
) -> None:
    """Show shards, owners, backlog, rates and the busiest rooms, live."""
    from imc_common.errors import ImcError  # noqa: PLC0415 # only this command needs it

    try:
        asyncio.run(_top(loaded, every, seconds))
    except ImcError as error:
        typer.echo(failure_text(error), err=True)
        raise typer.Exit(1) from None


async def _top(loaded: Loaded, every: float, seconds: float) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    from imc_common.errors import ImcError  # noqa: PLC0415
    from imc_common.store import Store  # noqa: PLC0415

    console, stop = Console(), asyncio.Event()
    if not console.is_terminal and not seconds:
        raise ImcError("imc top needs a terminal; without one use imc mi or /metrics")
    store = await Store.connect(loaded.settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live, _quit_key(stop):
            async with asyncio.timeout(seconds or None):
                await _draw(live, store, loaded, every, stop)
    except TimeoutError:
        pass
    finally:
        await store.close()


async def _draw(live: Live, store: object, loaded: Loaded, every: float, stop: asyncio.Event) -> None:
    from imc_cli.overview import read  # noqa: PLC0415
    from imc_common.store import Store, StoreUnreachable  # noqa: PLC0415

    assert isinstance(store, Store)  # noqa: S101 # typed loosely to avoid the import at module level
    before: Overview | None = None
    while not stop.is_set():
        try:
            now = await read(store, loaded.settings, time.monotonic())
            live.update(screen(now, before, *live.console.size), refresh=True)
            before = now
        except StoreUnreachable as error:
            live.update(f"Redis is unreachable: {error}", refresh=True)
        try:
            async with asyncio.timeout(every):
                await stop.wait()
        except TimeoutError:
            continue


@contextmanager
def _quit_key(stop: asyncio.Event) -> Iterator[None]:
    """Within this context the key q exits, if standard input is a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    import termios  # noqa: PLC0415 # not on every system
    import tty  # noqa: PLC0415

    descriptor, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    saved = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, lambda: stop.set() if sys.stdin.read(1) in "qQ" else None)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, saved)


def screen(now: Overview, before: Overview | None, width: int, height: int) -> RenderableType:
    """The whole screen: shards, with processes and rooms next to them or below."""
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    rows = max(3, height - HEAD_LINES)
    dead = sum(shard.dead for shard in now.shards)
    taken, made = _rate(now, before, "requests_ever"), _rate(now, before, "events_ever")
    head = Text.assemble(
        ("imc", "bold"),
        f"  {sum(shard.rooms for shard in now.shards)} rooms",
        f"  backlog {sum(shard.requests for shard in now.shards)} in",
        f" {sum(shard.events for shard in now.shards)} out",
        f"  {taken:.0f} requests/s  {made:.0f} events/s",
        (f"  {dead} dead letters", "bold red" if dead else ""),
        f"  redis {now.memory}, {now.clients} clients",
        ("  q: quit", "dim"),
    )
    body = Table.grid(padding=(0, 2), expand=True)
    if width < MIN_WIDE_COLUMNS:
        below = min(7, rows // 2)
        body.add_row(_processes(now, below), _busiest(now, before, below))
        return Group(head, _shards(now, before, rows - below, pending=False), body)
    body.add_row(
        _shards(now, before, rows, pending=True),
        Group(_processes(now, rows // 2), _busiest(now, before, rows // 2)),
    )
    return Group(head, body)


def _rate(now: Overview, before: Overview | None, name: str, only: int | None = None) -> float:
    """The increase of a counter per second, of all shards or of one."""
    if before is None or now.at <= before.at:
        return 0.0
    pairs = zip(now.shards, before.shards, strict=True)
    grown: int = sum(
        max(0, getattr(new, name) - getattr(old, name))
        for new, old in pairs
        if only is None or new.number == only
    )
    return grown / (now.at - before.at)


def _shards(now: Overview, before: Overview | None, rows: int, *, pending: bool) -> Table:
    from rich.table import Table  # noqa: PLC0415

    def longest_first(shard: Shard) -> tuple[int, int]:
        return -(shard.requests + shard.events), shard.number

    shown = sorted(now.shards, key=longest_first)[:rows] if len(now.shards) > rows else now.shards
    table = Table(box=None, header_style="bold", pad_edge=False)
    more = ["pending"] if pending else []
    for name in ("shard", "worker", "edge", "in", *more, "req/s", "out", *more, "ev/s", "rooms", "dead"):
        table.add_column(name, justify="left" if name in {"worker", "edge"} else "right", no_wrap=True)
    for shard in shown:
        table.add_row(
            str(shard.number),
            _short(shard.worker) or "[red]none[/]",
            _short(shard.edge) or "[red]none[/]",
            str(shard.requests),
            *([str(shard.requests_pending)] if pending else []),
            f"{_rate(now, before, 'requests_ever', shard.number):.0f}",
            str(shard.events),
            *([str(shard.events_pending)] if pending else []),
            f"{_rate(now, before, 'events_ever', shard.number):.0f}",
            *map(str, (shard.rooms, shard.dead)),
            style="yellow" if shard.requests + shard.events > 1000 else "",
        )
    if len(shown) < len(now.shards):
        table.caption = f"{len(now.shards) - len(shown)} more with shorter queues"
    return table


def _processes(now: Overview, rows: int) -> Table:
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("process", no_wrap=True)
    table.add_column("shards", justify="right")
    for kind, living in (("worker", now.workers), ("edge", now.edges)):
        for process in living[: max(1, rows // 2 - 1)]:
            held = sum(getattr(shard, kind) == process for shard in now.shards)
            table.add_row(f"{kind} {_short(process)}", str(held))
        if not living:
            table.add_row(f"[red]no {kind}[/]", "")
    return table


def _busiest(now: Overview, before: Overview | None, rows: int) -> Table:
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from imc_common.escape import printable  # noqa: PLC0415

    known = before.busiest if before is not None else {}
    passed = now.at - before.at if before is not None else 0.0
    rates = {
        room: (count - known.get(room, 0.0)) / passed
        for room, count in now.busiest.items()
        if passed > 0 and count > known.get(room, 0.0)
    }
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("busiest rooms", no_wrap=True)
    table.add_column("req/s", justify="right")
    for room, rate in sorted(rates.items(), key=lambda item: (-item[1], item[0]))[: max(1, rows - 1)]:
        table.add_row(escape(printable(room, 60)), f"{rate:.1f}")
    return table


def _short(process: str) -> str:
    """A process id that fits a column: the end of its host name, PID and random digits."""
    from rich.markup import escape  # noqa: PLC0415

    from imc_common.escape import printable  # noqa: PLC0415

    return escape(printable(process if len(process) <= 16 else f"~{process[-15:]}"))
