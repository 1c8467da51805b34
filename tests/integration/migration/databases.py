"""Databases with the old modules' tables: an SQLite file, and Debian's MariaDB and PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from imc_cli.migration.tables import connect
from tests.ports import free_port
from tests.processes import Process, wait_until
from tests.tools import absent, require

TABLES = (
    "CREATE TABLE version (table_name VARCHAR(32) NOT NULL, table_version INTEGER DEFAULT 0 NOT NULL)",
    "INSERT INTO version VALUES ('imc_rooms', 1), ('imc_members', 1)",
    "CREATE TABLE imc_rooms (id {serial}, name VARCHAR(64) NOT NULL, domain VARCHAR(64) NOT NULL,"
    " flag INTEGER NOT NULL)",
    "CREATE TABLE imc_members (id {serial}, username VARCHAR(64) NOT NULL, domain VARCHAR(64) NOT NULL,"
    " room VARCHAR(64) NOT NULL, flag INTEGER NOT NULL)",
)
_ROOMS = (("lobby", "example.org", 0), ("attic", "Example.ORG", 1), ("cellar", "example.org", 2))
_MEMBERS = (
    ("alice", "example.org", "sip:lobby@example.org", 1),
    ("bob", "example.org", "sip:lobby@example.org", 2),
    ("carol", "example.org", "sip:lobby@example.org", 0),
    ("alice", "example.org", "sip:attic@Example.ORG", 1),
    ("dave", "example.org", "sip:attic@Example.ORG", 4),
    ("erin", "example.org", "sip:cellar@example.org", 1),
)
ROWS = (
    *(f"INSERT INTO imc_rooms (name, domain, flag) VALUES {row}" for row in _ROOMS),  # noqa: S608 # our own rows
    *(f"INSERT INTO imc_members (username, domain, room, flag) VALUES {row}" for row in _MEMBERS),  # noqa: S608
)


def _fill(url: str, serial: str) -> None:
    engine = connect(url)
    with engine.begin() as connection:
        for statement in TABLES:
            connection.execute(sa.text(statement.format(serial=serial)))
    engine.dispose()


def create_kamailio_tables(url: str, *names: str) -> None:
    """Create tables in a MariaDB by the SQL files of Debian's kamailio-mysql-modules, such as "imc"."""
    for name in names:
        file = Path("/usr/share/kamailio/mysql", f"{name}-create.sql")
        if not file.is_file():
            absent(f"{file} is not there: install kamailio-mysql-modules")
        execute(url, *[part for part in file.read_text().split(";\n") if part.strip()])


def execute(url: str, *statements: str) -> None:
    """Run statements in one transaction."""
    engine = connect(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


def _responds(url: str) -> bool:
    engine = connect(url)
    try:
        with engine.connect():
            return True
    except OperationalError:
        return False
    finally:
        engine.dispose()


@contextmanager
def _data_folder() -> Iterator[Path]:
    """A folder outside pytest's. Each pytest session closes those to the users that the servers run as."""
    with tempfile.TemporaryDirectory(prefix="imc-database-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _as(user: str, folder: Path) -> list[str]:
    """The words before a command that run it as ``user`` when we are root: servers refuse to be root."""
    if os.geteuid() != 0:
        return []
    shutil.chown(folder, user, pwd.getpwnam(user).pw_gid)
    return ["setpriv", "--reuid", user, "--regid", str(pwd.getpwnam(user).pw_gid), "--clear-groups", "--"]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def sqlite() -> Iterator[str]:
    """An SQLite file; yields its URL."""
    with _data_folder() as folder:
        url = f"sqlite:///{folder / 'imc.sqlite'}"
        _fill(url, "INTEGER PRIMARY KEY")
        yield url


@contextmanager
def mariadb() -> Iterator[str]:
    """Start Debian's mariadb-server; yields the URL of a database with both tables, empty."""
    with empty_mariadb() as url:
        _fill(url, "INTEGER AUTO_INCREMENT PRIMARY KEY")
        yield url


@contextmanager
def empty_mariadb() -> Iterator[str]:
    """Start Debian's mariadb-server; yields the URL of a database without tables."""
    with _data_folder() as folder, _mariadb(folder) as url:
        yield url


@contextmanager
def _mariadb(folder: Path) -> Iterator[str]:
    require("mariadbd")
    user, port = _as("mysql", folder), free_port()
    # A server that starts removes all temporary tables from its folder for them, also another server's.
    data = ["--no-defaults", f"--datadir={folder}/data", f"--tmpdir={folder}"]
    _run([*user, require("mariadb-install-db"), *data, "--auth-root-authentication-method=normal"])
    where = [f"--socket={folder}/s", f"--pid-file={folder}/pid", f"--port={port}", "--bind-address=127.0.0.1"]
    grant = folder / "grant.sql"
    grant.write_text("CREATE DATABASE imc;\nGRANT ALL ON imc.* TO imc@localhost IDENTIFIED BY 'secret';\n")
    grant.chmod(0o644)
    server = Process(
        "mariadb", [*user, require("mariadbd"), *data, *where, f"--init-file={grant}"], folder
    ).start()
    try:
        url = f"mysql://imc:secret@127.0.0.1:{port}/imc"
        wait_until(lambda: _responds(url), "mariadb")
        yield url
    finally:
        server.end()


@contextmanager
def postgresql() -> Iterator[str]:
    """Start Debian's postgresql; yields the URL."""
    with _data_folder() as folder, _postgresql(folder) as url:
        yield url


@contextmanager
def _postgresql(folder: Path) -> Iterator[str]:
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    postgres = str(programs[-1] / "postgres") if programs else require("postgres")
    user, port = _as("postgres", folder), free_port()
    _run([*user, str(Path(postgres).parent / "initdb"), "-D", f"{folder}/data", "-U", "imc", "-A", "trust"])
    options = ["-D", f"{folder}/data", "-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
    server = Process("postgres", [*user, postgres, *options], folder).start()
    try:
        url = f"postgresql://imc@127.0.0.1:{port}/postgres"
        wait_until(lambda: _responds(url), "postgresql")
        _fill(url, "SERIAL PRIMARY KEY")
        yield url
    finally:
        server.end()


DATABASES = {"sqlite": sqlite, "mariadb": mariadb, "postgresql": postgresql}
