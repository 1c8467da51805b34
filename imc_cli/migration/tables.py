"""Reads and writes the two tables in a MySQL, PostgreSQL or SQLite database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    insert,
    select,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DataError, IntegrityError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from imc_cli.migration.rows import MemberRow, Refusal, Room, RoomRow, member_rows, room_row
from imc_common.errors import ImcError

PAGE = 1000
_DRIVERS = {"mysql": "mysql+pymysql", "mariadb": "mysql+pymysql", "postgresql": "postgresql+psycopg"}


class DatabaseUrlError(ImcError):
    """A database URL cannot be used. The text says why, and never contains the password."""


def connect(url: str, *, must_exist: bool = False) -> Engine:
    """An engine for ``mysql://``, ``postgresql://`` or ``sqlite:///FILE``. Raises `DatabaseUrlError`.

    ``must_exist``: SQLite would otherwise create a missing file.
    """
    try:
        parts = make_url(url)
        scheme = parts.drivername
        if scheme.partition("+")[0] not in ("mysql", "mariadb", "postgresql", "sqlite"):
            raise DatabaseUrlError(f"{scheme}:// is not mysql://, postgresql:// or sqlite://")
        if must_exist and scheme.startswith("sqlite") and not Path(parts.database or "").is_file():
            raise DatabaseUrlError(
                f"no such file {parts.database or ''!r}. An absolute path needs four slashes: sqlite:////path/FILE"
            )
        driver = _DRIVERS.get(scheme, scheme)
        engine = create_engine(parts.set(drivername=driver), poolclass=NullPool)  # few connections
    except (ArgumentError, NoSuchModuleError) as error:
        raise DatabaseUrlError("not a database URL such as mysql://user:password@host/database") from error
    if scheme.startswith("sqlite"):
        event.listen(engine, "connect", _reads_any_bytes)
    return engine


def _reads_any_bytes(connection: Any, _record: Any) -> None:
    """SQLite keeps texts that are no UTF-8; such a row is refused or escaped, and ends no import."""
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")


class Tables:
    """``imc_rooms(name, domain, flag)`` and ``imc_members(username, domain, room, flag)``."""

    def __init__(self, engine: Engine, rooms_table: str, members_table: str) -> None:
        self._engine = engine
        metadata = MetaData()
        self._rooms = Table(
            rooms_table,
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=True),
            Column("name", String(64), nullable=False),
            Column("domain", String(64), nullable=False),
            Column("flag", Integer, nullable=False),
        )
        self._members = Table(
            members_table,
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=True),
            Column("username", String(64), nullable=False),
            Column("domain", String(64), nullable=False),
            Column("room", String(255), nullable=False),
            Column("flag", Integer, nullable=False),
        )
        self._metadata = metadata

    def rooms(self) -> Iterator[RoomRow]:
        """All rows of the rooms table, in the order they were written."""
        columns = (self._rooms.c.name, self._rooms.c.domain, self._rooms.c.flag)
        with self._engine.connect() as connection:
            for row in connection.execution_options(yield_per=PAGE).execute(
                select(*columns).order_by(self._rooms.c.id)
            ):
                yield RoomRow(*row)

    def members(self) -> Iterator[MemberRow]:
        """All rows of the members table, in the order they were written."""
        c = self._members.c
        with self._engine.connect() as connection:
            for row in connection.execution_options(yield_per=PAGE).execute(
                select(c.username, c.domain, c.room, c.flag).order_by(c.id)
            ):
                yield MemberRow(*row)

    def write(self, rooms: Iterator[Room], refusals: list[Refusal]) -> tuple[int, int]:
        """Replace the contents of both tables in one transaction. Missing tables are created.

        Returns the numbers of rooms and members written. Each row that the database refuses is added to
        ``refusals``: it may be too long, or differ from another only in case.
        """
        self._metadata.create_all(self._engine)
        written_rooms = written_members = 0
        with self._engine.begin() as connection:
            connection.execute(delete(self._members))
            connection.execute(delete(self._rooms))
            for room in rooms:
                members = member_rows(room)
                if not _insert(connection, self._rooms, [room_row(room)], refusals):
                    refusals += [Refusal(row, "its room was refused") for row in members]
                    continue
                written_rooms += 1
                written_members += _insert(connection, self._members, members, refusals)
        return written_rooms, written_members


def _insert(
    connection: Connection, table: Table, rows: Sequence[RoomRow | MemberRow], refusals: list[Refusal]
) -> int:
    """Insert rows, together if the database takes them all. Returns how many it took."""
    try:
        with connection.begin_nested():
            connection.execute(insert(table), [asdict(row) for row in rows])
    except (DataError, IntegrityError) as error:
        if len(rows) > 1:
            return sum(_insert(connection, table, [row], refusals) for row in rows)
        refusals.append(Refusal(rows[0], f"the database refuses it: {str(error.orig).splitlines()[0]}"))
        return 0
    return len(rows)
