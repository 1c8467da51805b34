"""``imc reshard``: changes the number of shards."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from imc_cli.failure import failure_text
from imc_cli.options import add_command
from imc_cli.resharding import Resharding, Totals
from imc_common.errors import ImcError
from imc_common.settings import Loaded, Settings
from imc_common.store import Store


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, reshard)


def reshard(
    loaded: Loaded,
    hash_size: Annotated[
        int, typer.Option(min=0, max=12, help="The new hash_size N: 2**N shards.", show_default=False)
    ],
) -> None:
    """Change the number of shards. Stop all processes first. If it is interrupted, run it again."""
    try:
        totals = asyncio.run(_run(loaded.settings, hash_size))
    except ImcError as error:
        typer.echo(failure_text(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(
        f"{totals} are in {1 << hash_size} shards now; start all processes with hash_size = {hash_size}"
    )


async def _run(settings: Settings, hash_size: int) -> Totals:
    store = await Store.connect(settings, check=False)
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("rooms moved", total=None)
            moved = Resharding(
                store, settings, hash_size, moved=lambda count: progress.update(task, advance=count)
            )
            return await moved.run()
    finally:
        await store.close()
