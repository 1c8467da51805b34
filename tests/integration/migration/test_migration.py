"""``imc import`` and ``imc export`` against real databases and a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from imc_cli.application import application
from imc_common.keys import shard_of
from tests.integration.migration.databases import (
    DATABASES,
    ROWS,
    TABLES,
    create_kamailio_tables,
    empty_mariadb,
    execute,
)
from tests.integration.service import default_user, redis_server

pytestmark = pytest.mark.integration

REFUSED = [
    "refused: room cellar@example.org: marked as deleted",
    "refused: member erin@example.org of sip:cellar@example.org: its room was refused or does not exist",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Redis for imc's user."""
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def db(server: str) -> Iterator[redis.Redis]:
    """A client of that Redis, which is empty before each test."""
    with redis.Redis.from_url(default_user(server), decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="module", params=list(DATABASES))
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database with both tables, empty."""
    with DATABASES[request.param]() as url:
        yield url


@pytest.fixture
def filled(database: str) -> str:
    """The database with three rooms, one of them deleted."""
    execute(database, "DELETE FROM imc_rooms", "DELETE FROM imc_members", *ROWS)
    return database


def imc(*words: str, status: int = 0) -> list[str]:
    """The lines that an `imc` command prints; its exit status must be ``status``."""
    done = CliRunner().invoke(application(), words)
    assert done.exit_code == status, done.stderr
    return (done.stdout + (done.stderr if status else "")).splitlines()


def rooms(db: redis.Redis) -> dict[str, tuple[bool, dict[str, str]]]:
    """Every room in Redis: whether it is private, and its members."""
    found = {}
    for index in db.scan_iter("imc_rooms:{*}"):
        for room in db.zrange(index, 0, -1):
            members = db.hgetall(f"{index.replace('rooms', 'members')}:{room}")
            found[room] = (db.hget(f"{index}:{room}", "private") == "1", members)
    return found


EXPECTED = {
    "lobby@example.org": (
        False,
        {"alice@example.org": "owner", "bob@example.org": "admin", "carol@example.org": "member"},
    ),
    "attic@example.org": (True, {"alice@example.org": "owner", "dave@example.org": "invited"}),
}


def test_import_creates_the_rooms_and_reports_refused_rows(filled: str, server: str, db: redis.Redis) -> None:
    """Two rooms are imported with their roles; a deleted one and its member are refused by name."""
    said = imc("import", "--from", filled, "--db-url", server)
    assert said[:2] == REFUSED
    assert said[2:] == ["read 2 rooms with 5 members, refused 2 rows", "created 2, completed 0, unchanged 0"]
    assert rooms(db) == EXPECTED


def test_a_second_import_changes_nothing(filled: str, server: str, db: redis.Redis) -> None:
    """It is safe to run it again."""
    imc("import", "--from", filled, "--db-url", server)
    before = rooms(db)
    said = imc("import", "--from", filled, "--db-url", server)
    assert said[-1] == "created 0, completed 0, unchanged 2"
    assert rooms(db) == before


def test_dry_run_changes_nothing(filled: str, server: str, db: redis.Redis) -> None:
    """It prints the same report, and Redis stays empty."""
    said = imc("import", "--from", filled, "--db-url", server, "--dry-run")
    assert said[:2] == REFUSED
    assert said[-1] == "dry run: nothing changed"
    assert rooms(db) == {}


def test_import_leaves_a_room_that_is_private_on_one_side_only(
    filled: str, server: str, db: redis.Redis
) -> None:
    """Exit status 1 says that the operator has to decide."""
    imc("import", "--from", filled, "--db-url", server)
    execute(filled, "UPDATE imc_rooms SET flag = 1 WHERE name = 'lobby'")
    said = imc("import", "--from", filled, "--db-url", server, status=1)
    assert "not changed: lobby@example.org is private in only one of database and Redis" in said
    assert rooms(db) == EXPECTED


def test_export_and_import_give_the_same_rooms(filled: str, server: str, db: redis.Redis) -> None:
    """Export into the same tables, then import into an empty Redis."""
    imc("import", "--from", filled, "--db-url", server)
    assert imc("export", "--to", filled, "--db-url", server) == [
        "wrote 2 rooms with 5 members, refused 0 rows"
    ]
    db.flushall()
    said = imc("import", "--from", filled, "--db-url", server)
    assert said[0] == "read 2 rooms with 5 members, refused 0 rows"
    assert rooms(db) == EXPECTED


def test_histories_go_with_the_rooms_in_a_file(
    filled: str, server: str, db: redis.Redis, tmp_path: Path
) -> None:
    """Into an empty Redis, too. Others cannot read the file: it has what people wrote."""
    imc("import", "--db-url", server, "--from", filled)
    room = next(iter(rooms(db)))
    shard = shard_of(room, 4)
    history, file = f"imc_history:{{{shard}}}:{room}", tmp_path / "history.jsonl"
    for number in range(3):
        db.xadd(history, {"alice@example.org": "text"}, id=f"170000000000{number}-0")
    db.hset(f"imc_rooms:{{{shard}}}:{room}", "joined:bob@example.org", "5-1")
    kept = db.xrange(history)
    options = ["--db-url", server, "--history", str(file)]
    assert f"wrote 3 messages to {file}" in imc("export", *options, "--to", filled)
    assert file.stat().st_mode & 0o777 == 0o600
    db.flushall()
    report = imc("import", *options, "--from", filled)
    assert report[-1].startswith("histories of 2 rooms: 3 messages added, 0 not")
    assert db.xrange(history) == kept
    (missing,) = imc("import", *options[:3], str(tmp_path / "missing"), "--from", filled, status=1)[-1:]
    assert "No such file" in missing


def test_import_and_export_use_the_table_names_of_their_options(
    filled: str, server: str, db: redis.Redis
) -> None:
    """``--rooms-table`` and ``--members-table`` name tables of the database, not Redis keys."""
    imc("import", "--from", filled, "--db-url", server)
    tables = ["--rooms-table", "old_rooms", "--members-table", "old_members"]
    imc("export", "--to", filled, "--db-url", server, *tables)
    db.flushall()
    imc("import", "--from", filled, "--db-url", server, *tables)
    assert rooms(db) == EXPECTED
    execute(filled, "DROP TABLE old_rooms", "DROP TABLE old_members")


def test_the_error_about_an_unreachable_database_hides_the_password(server: str, tmp_path: Path) -> None:
    """One line, with exit status 1."""
    *_, line = imc("import", "--from", "mysql://imc:secret@127.0.0.1:1/imc", "--db-url", server, status=1)
    assert line.startswith("mysql://imc:***@127.0.0.1:1/imc: ")
    assert "secret" not in line


@pytest.mark.parametrize("name", ["missing.sqlite", "folder/missing.sqlite", ""])
def test_a_missing_sqlite_file_is_reported_and_not_created(server: str, tmp_path: Path, name: str) -> None:
    """Importing nothing from a new file would look like a success."""
    url = f"sqlite:///{tmp_path}/{name}" if name else "sqlite://"
    said = imc("import", "--from", url, "--db-url", server, status=1)[-1]
    assert said.startswith("no such file ")
    assert name in said
    assert list(tmp_path.iterdir()) == []


def test_an_unsupported_database_url_is_refused(server: str) -> None:
    """The error lists the supported schemes."""
    *_, line = imc("import", "--from", "oracle://host/db", "--db-url", server, status=1)
    assert line == "oracle:// is not mysql://, postgresql:// or sqlite://"


LONG = "x" * 60
ROWS_OF_ANOTHER_KIND = (
    *(
        f"INSERT INTO imc_rooms (name, domain, flag) VALUES ('{name}', 'example.org', 0)"  # noqa: S608 # our own rows
        for name in ("Tea", "tea", LONG, "lobby")
    ),
    *(
        "INSERT INTO imc_members (username, domain, room, flag)"  # noqa: S608 # our own rows
        f" VALUES ('{name}', 'example.org', 'sip:{room}@example.org', {flag})"
        for room, name, flag in (
            *((room, "alice", 1) for room in ("Tea", "tea", LONG, "lobby")),
            *(("lobby", name, 0) for name in ("Bob", "bob")),
        )
    ),
)
"""Two rooms and two members that differ only in case, and a room whose URI is too long for MySQL."""


def test_export_names_the_rows_that_the_database_refuses(
    server: str, db: redis.Redis, tmp_path: Path
) -> None:
    """MySQL's keys ignore case, and its columns have 64 characters. All other rows are written."""
    file = f"sqlite:///{tmp_path}/rooms.sqlite"
    execute(file, *[each.format(serial="INTEGER PRIMARY KEY") for each in TABLES], *ROWS_OF_ANOTHER_KIND)
    imc("import", "--from", file, "--db-url", server)
    with empty_mariadb() as url:
        create_kamailio_tables(url, "standard", "imc")
        said = imc("export", "--to", url, "--db-url", server, status=1)
        db.flushall()
        imc("import", "--from", url, "--db-url", server)
    refused = [line.partition(": the database refuses it: ") for line in said if line.startswith("refused")]
    assert [line for line, _, why in refused if not why] == [
        "refused: member alice@example.org of sip:Tea@example.org: its room was refused"
    ]
    assert {line: why[:7] for line, _, why in refused if why} == {
        "refused: room Tea@example.org": "(1062, ",
        "refused: member bob@example.org of sip:lobby@example.org": "(1062, ",
        f"refused: member alice@example.org of sip:{LONG}@example.org": "(1406, ",
    }
    assert "differ only in case: Tea@example.org, tea@example.org (see case_sensitive_users)" in said
    assert "wrote 3 rooms with 3 members, refused 4 rows" in said
    assert rooms(db) == {
        "tea@example.org": (False, {"alice@example.org": "owner"}),
        "lobby@example.org": (False, {"alice@example.org": "owner", "Bob@example.org": "member"}),
    }
