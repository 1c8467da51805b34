"""``imc dead list | show | retry | drop``: dead letters, the entries that could not be handled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from imc_cli.dead_letters import DeadLetter, drop, find, letters, parse_name, retry
from imc_cli.failure import failure_text
from imc_cli.options import add_command
from imc_common.errors import ImcError
from imc_common.escape import printable
from imc_common.settings import Loaded, Settings
from imc_common.store import Store

_MAX_SHOWN = 2000
_Name = Annotated[str, typer.Argument(help="SHARD/ID as `imc dead list` shows it.")]
_Names = Annotated[list[str] | None, typer.Argument(help="SHARD/ID as `imc dead list` shows it.")]
_All = Annotated[bool, typer.Option("--all", help="All dead letters.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Dead letters: requests and events that could not be handled.", no_args_is_help=True
    )
    add_command(group, list_letters, "list")
    add_command(group, show, "show")
    add_command(group, retry_letters, "retry")
    add_command(group, drop_letters, "drop")
    app.add_typer(group, name="dead")


def list_letters(
    loaded: Loaded,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object in each line.")] = False,
) -> None:
    """List dead letters, the oldest of each shard first."""

    async def run(store: Store, shards: int) -> None:
        table = Table("letter", "when", "stream", "what", "room", "from", "reason", box=None)
        async for letter in letters(store, shards):
            if as_json:
                typer.echo(json.dumps(_summary(letter)))
            else:
                table.add_row(*(escape(str(value)) for value in _summary(letter).values()))
        if not as_json and table.row_count:
            Console().print(table)
        elif not as_json:
            typer.echo("There are no dead letters.")

    _with_store(loaded, run)


def show(loaded: Loaded, letter: _Name) -> None:
    """Show one dead letter with all its fields."""

    async def run(store: Store, shards: int) -> None:
        found = await find(store, *parse_name(letter, shards))
        for name, value in _summary(found).items():
            typer.echo(f"{name}: {value}")
        for name, content in found.fields.items():
            typer.echo(f"  {printable(name, 100)}: {printable(content.decode(errors='replace'), _MAX_SHOWN)}")

    _with_store(loaded, run)


def retry_letters(loaded: Loaded, names: _Names = None, everything: _All = False) -> None:
    """Retry dead letters: append them to their stream again."""
    _each(loaded, names, everything, retry, "retried")


def drop_letters(loaded: Loaded, names: _Names = None, everything: _All = False) -> None:
    """Delete dead letters."""
    _each(loaded, names, everything, drop, "dropped")


def _each(
    loaded: Loaded,
    names: list[str] | None,
    everything: bool,
    act: Callable[[Store, DeadLetter], Coroutine[Any, Any, bool]],
    done: str,
) -> None:
    if bool(names) == everything:
        typer.echo("name dead letters or use --all", err=True)
        raise typer.Exit(2)

    async def run(store: Store, shards: int) -> None:
        if everything:
            chosen = [letter async for letter in letters(store, shards)]
        else:
            chosen = [await find(store, *parse_name(name, shards)) for name in names or ()]
        count = sum([await act(store, letter) for letter in chosen])
        typer.echo(f"{done}: {count}")

    _with_store(loaded, run)


def _summary(letter: DeadLetter) -> dict[str, str]:
    when = datetime.fromtimestamp(letter.at / 1000, UTC).isoformat(timespec="seconds")
    return {
        "letter": letter.name,
        "when": when,
        "stream": printable(letter.stream, 100),
        "what": printable(letter.text("type") or letter.text("event"), 50),
        "room": printable(letter.text("room"), 300),
        "from": printable(letter.text("from"), 300),
        "reason": printable(letter.reason, 500),
    }


def _with_store(loaded: Loaded, run: Callable[[Store, int], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with _store(loaded.settings) as store:
            await run(store, 1 << loaded.settings.hash_size)

    try:
        asyncio.run(whole())
    except ImcError as error:
        typer.echo(failure_text(error), err=True)
        raise typer.Exit(1) from None


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[Store]:
    store = await Store.connect(settings)
    try:
        yield store
    finally:
        await store.close()
