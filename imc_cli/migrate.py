"""``imc import`` and ``imc export``: rooms from and to the tables of the OpenSIPS and Kamailio modules."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

from imc_cli.failure import failure_text
from imc_cli.options import add_command
from imc_cli.terminal import terminal_safe
from imc_common.errors import ImcError
from imc_common.settings import Loaded, Settings, masked

if TYPE_CHECKING:
    from imc_cli.migration.histories import Restored
    from imc_cli.migration.load import ImportReport
    from imc_cli.migration.rows import Refusal, Room
    from imc_cli.migration.tables import Tables

_NEEDS = "imc import and export need SQLAlchemy and a driver: pip install '.[migrate]' in imc's folder"
_RoomsTable = Annotated[str, typer.Option("--rooms-table", help="Table of rooms.")]
_History = Annotated[
    Path | None,
    typer.Option("--history", help="File of JSON lines with what rooms keep and who is away."),
]
_MembersTable = Annotated[str, typer.Option("--members-table", help="Table of members.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    add_command(app, import_rooms, "import")
    add_command(app, export_rooms, "export")


def import_rooms(
    loaded: Loaded,
    from_: Annotated[str, typer.Option("--from", help="mysql://, postgresql:// or sqlite:///FILE")],
    rooms_table: _RoomsTable = "imc_rooms",
    members_table: _MembersTable = "imc_members",
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and report without changing anything.")
    ] = False,
    history: _History = None,
) -> None:
    """Import rooms and members from an OpenSIPS or Kamailio database. It can be run again."""
    refusals: list[Refusal] = []
    with _plain_errors(from_):
        tables = _tables(from_, rooms_table, members_table, must_exist=True)
        rooms = _read(tables, refusals, ignores_case=not loaded.settings.case_sensitive_users)
        report = None if dry_run else asyncio.run(_load(loaded.settings, rooms))
    _report(rooms, refusals)
    members = sum(len(room.members) for room in rooms)
    typer.echo(f"read {len(rooms)} rooms with {members} members, refused {len(refusals)} rows")
    if report is None:
        typer.echo("dry run: nothing changed")
        return
    _print(report)
    if history is not None:
        with _plain_errors(from_):
            _print_restored(asyncio.run(_load_histories(loaded.settings, history)))
    if report.failed or report.differing:
        raise typer.Exit(1)


def export_rooms(
    loaded: Loaded,
    to: Annotated[str, typer.Option("--to", help="mysql://, postgresql:// or sqlite:///FILE")],
    rooms_table: _RoomsTable = "imc_rooms",
    members_table: _MembersTable = "imc_members",
    history: _History = None,
) -> None:
    """Write all rooms and members to an OpenSIPS or Kamailio database, replacing both tables.

    Exit status 1 if the database refuses a row. The others are written.
    """
    refusals: list[Refusal] = []
    with _plain_errors(to):
        tables = _tables(to, rooms_table, members_table)
        rooms = asyncio.run(_dump(loaded.settings))
        written = tables.write(iter(rooms), refusals)
        messages = -1 if history is None else asyncio.run(_dump_histories(loaded.settings, rooms, history))
    _report(rooms, refusals)
    if messages >= 0:
        typer.echo(f"wrote {messages} messages to {history}")
    typer.echo(f"wrote {written[0]} rooms with {written[1]} members, refused {len(refusals)} rows")
    if refusals:
        raise typer.Exit(1)


class _plain_errors:  # noqa: N801 # reads as a statement
    """Turns expected errors into one line on standard error and exit status 1."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None or isinstance(error, typer.Exit):
            return
        if isinstance(error, ImcError | OSError):
            text = failure_text(error)
        elif type(error).__module__.startswith("sqlalchemy"):
            text = f"{masked(self._url)}: {str(error).splitlines()[0]}"
        else:
            return
        typer.echo(text, err=True)
        raise typer.Exit(1) from None


def _tables(url: str, rooms_table: str, members_table: str, *, must_exist: bool = False) -> Tables:
    try:
        from imc_cli.migration.tables import Tables, connect  # noqa: PLC0415 # SQLAlchemy is an extra
    except ModuleNotFoundError as error:
        raise ImcError(_NEEDS) from error
    return Tables(connect(url, must_exist=must_exist), rooms_table, members_table)


def _read(tables: Tables, refusals: list[Refusal], *, ignores_case: bool) -> list[Room]:
    from imc_cli.migration.rows import rooms_of  # noqa: PLC0415 # as above

    return list(rooms_of(tables.rooms(), tables.members(), refusals, ignores_case=ignores_case))


def _collisions(rooms: list[Room]) -> list[tuple[str, ...]]:
    from imc_cli.migration.rows import collisions  # noqa: PLC0415 # as above

    return collisions(rooms)


async def _load(settings: Settings, rooms: list[Room]) -> ImportReport:
    from imc_cli.migration.load import load  # noqa: PLC0415 # as above
    from imc_common.store import Store  # noqa: PLC0415 # as above

    store = await Store.connect(settings)
    try:
        progress: Iterable[Room] = track(rooms, "rooms", console=Console(stderr=True))
        return await load(store, settings, progress, int(time.time() * 1000))
    finally:
        await store.close()


async def _dump(settings: Settings) -> list[Room]:
    from imc_cli.migration.dump import dump  # noqa: PLC0415 # as above
    from imc_common.store import Store  # noqa: PLC0415 # as above

    store = await Store.connect(settings)
    try:
        return [room async for room in dump(store, settings)]
    finally:
        await store.close()


async def _dump_histories(settings: Settings, rooms: list[Room], path: Path) -> int:
    """The file is readable by its owner only: it has what people wrote."""
    from imc_cli.migration.histories import dump_histories  # noqa: PLC0415 # as above
    from imc_common.store import Store  # noqa: PLC0415 # as above

    store = await Store.connect(settings)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            addresses = [room.address for room in rooms]
            return await dump_histories(
                store, settings, addresses, lambda line: print(json.dumps(line), file=file)
            )
    finally:
        await store.close()


async def _load_histories(settings: Settings, path: Path) -> Restored:
    from imc_cli.migration.histories import load_histories  # noqa: PLC0415 # as above
    from imc_common.store import Store  # noqa: PLC0415 # as above

    store = await Store.connect(settings)
    try:
        with path.open(encoding="utf-8") as file:
            return await load_histories(store, settings, file)
    finally:
        await store.close()


def _print_restored(restored: Restored) -> None:
    typer.echo(
        f"histories of {restored.rooms} rooms: {restored.messages} messages added,"
        f" {restored.not_added} not: the rooms have them, or later ones"
    )
    for address in restored.unknown:
        typer.echo(terminal_safe(f"no such room for a history: {address}"))


def _report(rooms: list[Room], refusals: list[Refusal]) -> None:
    for refusal in refusals:
        typer.echo(terminal_safe(f"refused: {refusal}"))
    for same in _collisions(rooms):
        typer.echo(terminal_safe(f"differ only in case: {', '.join(same)} (see case_sensitive_users)"))


def _print(report: ImportReport) -> None:
    typer.echo(f"created {report.created}, completed {report.completed}, unchanged {report.unchanged}")
    for address in report.differing:
        typer.echo(f"not changed: {terminal_safe(address)} is private in only one of database and Redis")
    for line in report.failed:
        typer.echo(terminal_safe(f"failed: {line}"))
