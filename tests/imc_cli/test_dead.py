"""``imc dead`` on a real Redis. Also covers dead_letters.py."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import redis
from typer.testing import CliRunner

from imc_cli.application import application
from imc_common import keys
from tests.chaos.servers import Single
from tests.tools import require

pytestmark = pytest.mark.integration

FIELDS = {
    "dead_stream": "imc:{3}:in",
    "dead_entry": "1-1",
    "dead_reason": "WRONGTYPE planted",
    "dead_at": "1700000000000",
    "type": "message",
    "from": "alice@example.org",
    "room": "r@example.org\x1b[2J",
    "data": b"\x81\xff",
}
LEFT = {name: value for name, value in FIELDS.items() if not name.startswith("dead_")}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis."""
    require("redis-server")
    require("redis-cli")
    server = Single(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
def db(url: str) -> Iterator[redis.Redis]:
    """The Redis with two dead letters, 1-0 in shard 3 and 2-0 in shard 5."""
    with redis.Redis.from_url(url) as client:
        client.flushall()
        client.xadd(keys.dead(3), FIELDS, id="1-0")
        client.xadd(keys.dead(5), FIELDS | {"dead_stream": "imc:{5}:out"}, id="2-0")
        yield client


def dead(url: str, *words: str, status: int = 0) -> str:
    """What ``imc dead`` prints; its exit status must be ``status``."""
    done = CliRunner().invoke(application(), ["dead", *words, "--db-url", url])
    assert done.exit_code == status, done.stderr
    return done.stderr if status else done.stdout


def test_imc_dead_list_prints_the_letters_of_all_shards_as_json(url: str, db: redis.Redis) -> None:
    """One JSON object in each line, with escaped control characters."""
    lines = [json.loads(line) for line in dead(url, "list", "--json").splitlines()]
    assert [line["letter"] for line in lines] == ["3/1-0", "5/2-0"]
    assert lines[0] == {
        "letter": "3/1-0",
        "when": "2023-11-14T22:13:20+00:00",
        "stream": "imc:{3}:in",
        "what": "message",
        "room": "r@example.org\\x1b[2J",
        "from": "alice@example.org",
        "reason": "WRONGTYPE planted",
    }


def test_imc_dead_list_prints_a_table(url: str, db: redis.Redis) -> None:
    """With a heading, and without escape sequences from the name of a room."""
    shown = dead(url, "list")
    assert "letter" in shown
    assert "3/1-0" in shown
    assert "\x1b[2J" not in shown


def test_list_says_so_if_there_are_none(url: str, db: redis.Redis) -> None:
    """One line for people, nothing for programs."""
    db.flushall()
    assert dead(url, "list") == "There are no dead letters.\n"
    assert dead(url, "list", "--json") == ""


def test_imc_dead_show_prints_all_fields(url: str, db: redis.Redis) -> None:
    """Bytes that are not text are escaped."""
    shown = dead(url, "show", "3/1-0")
    assert "reason: WRONGTYPE planted" in shown
    assert "  from: alice@example.org" in shown
    assert "  data: " in shown


def test_imc_dead_retry_appends_an_entry_to_its_stream(url: str, db: redis.Redis) -> None:
    """Other letters stay."""
    assert dead(url, "retry", "3/1-0") == "retried: 1\n"
    [(_, fields)] = db.xrange(keys.requests(3))
    assert set(fields) == {name.encode() for name in LEFT}
    assert (db.xlen(keys.dead(3)), db.xlen(keys.dead(5))) == (0, 1)


def test_imc_dead_drop_all_deletes_all_letters(url: str, db: redis.Redis) -> None:
    """Without retrying them."""
    assert dead(url, "drop", "--all") == "dropped: 2\n"
    assert db.exists(keys.dead(3), keys.dead(5), keys.requests(3), keys.events(5)) <= 2
    assert (db.xlen(keys.dead(3)), db.xlen(keys.dead(5))) == (0, 0)


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["retry"], 2, "name dead letters or use --all"),
        (["drop", "--all", "3/1-0"], 2, "name dead letters or use --all"),
        (["show", "3/9-9"], 1, "dead letter 3/9-9 does not exist"),
        (["show", "99/1-0"], 1, "'99/1-0' is not a dead letter"),
        (["drop", "x"], 1, "'x' is not a dead letter"),
    ],
)
def test_wrong_arguments_of_imc_dead_are_reported(
    url: str, db: redis.Redis, words: list[str], status: int, told: str
) -> None:
    """Nothing changes."""
    assert told in dead(url, *words, status=status)
    assert (db.xlen(keys.dead(3)), db.xlen(keys.dead(5))) == (1, 1)
