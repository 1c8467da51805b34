"""``imc user …``: users with passwords (``identity = digest``), and what Redis stores about a user."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated

import typer

from imc_cli.failure import failure_text
from imc_cli.options import add_command
from imc_cli.password import read_password
from imc_cli.terminal import terminal_safe
from imc_common.address import without_case
from imc_common.errors import ImcError
from imc_common.escape import printable
from imc_common.settings import Loaded
from imc_common.store import Store
from imc_common.users import Users, hashes_of, user_address

_User = Annotated[str, typer.Argument(help="Address of the user, such as alice@example.org.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Users with passwords (identity = digest), and the data stored about a user.",
        no_args_is_help=True,
    )
    add_command(group, add)
    add_command(group, passwd)
    add_command(group, remove)
    add_command(group, list_users, "list")
    add_command(group, rotate)
    add_command(group, export)
    add_command(group, forget)
    app.add_typer(group, name="user")


def add(loaded: Loaded, user: _User) -> None:
    """Add a user. The password is prompted for, or read from standard input as one line."""

    async def run(users: Users) -> None:
        who = _address(loaded, user)
        await users.add(who, hashes_of(who, read_password(twice=True), loaded.settings.digest_algorithms))
        typer.echo(f"added {who}")

    _with_users(loaded, run)


def passwd(loaded: Loaded, user: _User) -> None:
    """Change the password of a user."""

    async def run(users: Users) -> None:
        who = _address(loaded, user)
        await users.change(who, hashes_of(who, read_password(twice=True), loaded.settings.digest_algorithms))
        typer.echo(f"changed the password of {who}")

    _with_users(loaded, run)


def remove(loaded: Loaded, user: _User) -> None:
    """Remove a user, who can then no longer send. Rooms and memberships stay."""

    async def run(users: Users) -> None:
        who = _address(loaded, user)
        await users.remove(who)
        typer.echo(f"removed {who}")

    _with_users(loaded, run)


def list_users(loaded: Loaded) -> None:
    """List the users with their digest algorithms."""

    async def run(users: Users) -> None:
        for who, algorithms in (await users.all()).items():
            typer.echo(f"{printable(who, 256)}  {', '.join(algorithms) or 'no known algorithm'}")

    _with_users(loaded, run)


def rotate(loaded: Loaded) -> None:
    """Add a key that signs nonces from a minute later. Nonces of the old key stay valid until they expire."""

    async def run(users: Users) -> None:
        first_use = datetime.fromtimestamp(await users.rotate_key(), UTC)
        typer.echo(f"a new key signs nonces from {first_use:%H:%M:%S} UTC")

    _with_users(loaded, run)


def export(loaded: Loaded, user: _User) -> None:
    """Print the data that Redis stores about a user, as JSON. Needs MI."""
    _ask_mi(loaded, "imc_user_export", user)


def forget(loaded: Loaded, user: _User) -> None:
    """Remove a user from all rooms, and delete the data stored about the user. Needs MI.

    Bans of the user, dead letters and the password stay.
    """
    _ask_mi(loaded, "imc_user_forget", user)


def _ask_mi(loaded: Loaded, command: str, user: str) -> None:
    """Run the MI command, so that the audit log of the service has it."""
    from imc_cli import mi_client  # noqa: PLC0415 # only these commands need it

    try:
        typer.echo(json.dumps(mi_client.ask(loaded.settings, command, [user]), indent=2))
    except (mi_client.MiFailure, mi_client.MiUnreachable) as error:
        typer.echo(f"imc user: {terminal_safe(str(error))}", err=True)
        raise typer.Exit(1 if isinstance(error, mi_client.MiFailure) else 2) from None


def _address(loaded: Loaded, user: str) -> str:
    """The user's address. If case makes no difference, nobody gets a second password by another spelling."""
    address = user_address(user)
    return address if loaded.settings.case_sensitive_users else without_case(address)


def _with_users(loaded: Loaded, run: Callable[[Users], Awaitable[None]]) -> None:
    async def main() -> None:
        store = await Store.connect(loaded.settings, check=False)
        try:
            await run(Users(store))
        finally:
            await store.close()

    try:
        asyncio.run(main())
    except ImcError as error:
        typer.echo(f"imc user: {failure_text(error)}", err=True)
        raise typer.Exit(1) from None
