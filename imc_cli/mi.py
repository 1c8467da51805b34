"""``imc mi COMMAND …``: runs a management command; prints a table or JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from imc_cli.options import add_command
from imc_cli.terminal import terminal_safe
from imc_common.settings import Loaded


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, mi)


def mi(
    loaded: Loaded,
    command: Annotated[str, typer.Argument(help="A management command; `which` lists all.")],
    params: Annotated[
        list[str] | None, typer.Argument(help="Its parameters in order, or as NAME=VALUE.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run an MI command at `mi_listen` or `mi_fifo`. Exit status: 1 it failed, 2 no response."""
    from imc_cli import mi_client  # noqa: PLC0415 # only this command needs it

    try:
        result = mi_client.ask(loaded.settings, command, _params(command, params or []))
    except mi_client.MiFailure as error:
        typer.echo(terminal_safe(str(error)), err=True)
        raise typer.Exit(1) from None
    except mi_client.MiUnreachable as error:
        typer.echo(terminal_safe(str(error)), err=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        _show(result)


def _params(command: str, words: list[str]) -> list[Any] | dict[str, Any]:
    if command in {"get_statistics", "statistics:get"}:
        return [words]
    pairs = [word.partition("=") for word in words]
    names = {"room", "user", "owner", "private", "role", "text", "command"}
    if pairs and all(equals and name in names for name, equals, _ in pairs):
        return {name: value for name, _, value in pairs}
    return words


def _show(result: Any) -> None:
    """Print a result as a table or as text."""
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console(highlight=False, markup=False)

    def table(title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
        made = Table(*columns, title=escape(terminal_safe(title)), title_justify="left")
        for row in rows:
            made.add_row(*(escape(terminal_safe(str(cell))) for cell in row))
        console.print(made)

    match result:
        case {"MESSAGES": _, "ROOMS": _}:  # all of a user: too deep for a table
            typer.echo(json.dumps(result, indent=2))
        case {"ROOMS": [*rooms]}:
            rows = [(room["URI"], room["MEMBERS"], room["OWNER"]) for room in rooms]
            table("1 room" if len(rows) == 1 else f"{len(rows)} rooms", ("room", "members", "owner"), rows)
        case {"ROOM": room, "PRIVATE": private, "CREATED_AT": created_at, "MEMBERS": members}:
            created = datetime.fromtimestamp(created_at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            title = f"{room}, {'private' if private else 'public'}, created {created}"
            table(title, ("member", "role"), [(one["URI"], one["ROLE"]) for one in members])
        case {"ROOM": room, "MEMBERS": members, "NO_MEMBERS": _}:
            table(str(room), ("member",), [(one,) for one in members])
        case dict():
            table("", ("", ""), [(name, _plain(value)) for name, value in result.items()])
        case list():
            for each in result:
                console.print(terminal_safe(" ".join(each) if isinstance(each, list) else str(each)))
        case _:
            console.print(terminal_safe(str(result)))


def _plain(value: Any) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)
