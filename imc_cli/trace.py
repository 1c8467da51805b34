"""``imc trace ROOM|USER``: shows the steps of messages, live."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from imc_cli.failure import failure_text
from imc_cli.options import add_command
from imc_common.settings import Loaded

if TYPE_CHECKING:
    from imc_common.store import Store

POLL_SECONDS = 0.2
RENEW_SECONDS = 4.0
PAGE = 500

_STYLES = {"received": "cyan", "responded": "cyan", "handled": "yellow", "sending": "blue"}
_STYLES |= {"delivered": "green", "not delivered": "red"}
_OWN = {"at", "process", "step", "room", "users", "call_id"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, trace)


def trace(
    loaded: Loaded,
    address: Annotated[str, typer.Argument(help="Address of a room or a user.", metavar="ROOM|USER")],
    seconds: Annotated[
        float, typer.Option("--seconds", help="Exit after so many seconds; 0: at Ctrl-C.")
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object in each line.")] = False,
) -> None:
    """Show each step of the messages of a room or a user, on all edges and workers, live."""
    from imc_common.address import AddressError, parse  # noqa: PLC0415 # only this command needs it
    from imc_common.errors import ImcError  # noqa: PLC0415

    try:
        asyncio.run(_trace(loaded, parse(address), seconds, _print_json if as_json else _printer()))
    except AddressError as error:
        typer.echo(f"{address!r} is not an address: {error}", err=True)
        raise typer.Exit(2) from None
    except ImcError as error:
        typer.echo(failure_text(error), err=True)
        raise typer.Exit(1) from None


async def _trace(
    loaded: Loaded, address: str, seconds: float, show: Callable[[dict[str, str]], None]
) -> None:
    from imc_common.errors import ImcError  # noqa: PLC0415
    from imc_common.store import Store  # noqa: PLC0415
    from imc_common.tracer import unwatch  # noqa: PLC0415

    store = await Store.connect(loaded.settings)
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        async with asyncio.timeout(seconds or None):
            await _follow(store, address, show)
    except (asyncio.CancelledError, TimeoutError):
        pass
    finally:
        with suppress(ImcError):
            await store.run(unwatch(address))
        await store.close()


async def _follow(store: Store, address: str, show: Callable[[dict[str, str]], None]) -> None:
    from imc_common import keys  # noqa: PLC0415
    from imc_common.tracer import watch  # noqa: PLC0415

    ((*newest,),) = await store.run([("XREVRANGE", keys.TRACE, "+", "-", "COUNT", 1)])
    last = newest[0][0].decode() if newest else "0"
    renew_at = 0.0
    while True:
        now = asyncio.get_running_loop().time()
        if now >= renew_at:
            await store.run(watch(address))
            renew_at = now + RENEW_SECONDS
        (entries,) = await store.run([("XRANGE", keys.TRACE, f"({last}", "+", "COUNT", PAGE)])
        for entry_id, flat in entries:
            last = entry_id.decode()
            text = [part.decode("utf-8", "replace") for part in flat]
            fields = dict(zip(text[::2], text[1::2], strict=True))
            if "left_out" in fields or fields["room"] == address or address in fields["users"].split():
                show(fields)
        if len(entries) < PAGE:
            await asyncio.sleep(POLL_SECONDS)


def _print_json(fields: dict[str, str]) -> None:
    print(json.dumps(fields), flush=True)


def _printer() -> Callable[[dict[str, str]], None]:
    """A function that prints a step as one line, in colour at a terminal."""
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from imc_common.escape import printable  # noqa: PLC0415

    console = Console(highlight=False, soft_wrap=True, markup=False)

    def show(fields: dict[str, str]) -> None:
        if "left_out" in fields:
            console.print(
                printable(f"... {fields['left_out']} steps of {fields['process']} left out"),
                style="red",
            )
            return
        at = datetime.fromtimestamp(int(fields["at"]) / 1000).astimezone()
        more = " ".join(f"{name}={value}" for name, value in fields.items() if name not in _OWN)
        users = fields["users"].split()
        shown = " ".join(users[:4]) + (f" and {len(users) - 4} more" if len(users) > 4 else "")
        console.print(
            Text(at.strftime("%H:%M:%S.%f")[:-3], style="dim"),
            Text(f"{printable(fields['process'].split()[0], 20):<6}", style="dim"),
            Text(f"{printable(fields['step'], 20):<13}", style=_STYLES.get(fields["step"], "")),
            Text(printable(fields["room"]), style="bold"),
            printable(shown, 400),
            printable(more, 400),
            Text(printable(fields["call_id"]), style="dim"),
        )

    return show
