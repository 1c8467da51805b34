"""What commands say when they fail."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from imc_cli.application import application
from imc_cli.failure import failure_text
from imc_common.errors import ImcError

COMMANDS = ["dead list", "user list", "top --seconds 1", "trace a@example.org", "reshard --hash-size 5"]


@pytest.mark.parametrize("command", [*COMMANDS, "export --to sqlite:///:memory:"])
def test_a_command_without_redis_says_where_it_looked_and_what_to_set(command: str) -> None:
    """After `make run`, say, whose server listens on a socket in ./var only."""
    result = CliRunner().invoke(application(), [*command.split(), "--db-url", "redis://127.0.0.1:1/0"])
    assert result.exit_code == 1
    said = result.stderr.removeprefix("imc user: ")
    assert said.startswith("Redis is unreachable: 127.0.0.1:1: connection refused. Set --db-url ")


def test_another_failure_is_said_as_it_is_and_cannot_control_the_terminal() -> None:
    """Its text may contain what came from the network."""
    assert failure_text(ImcError("no letter \x1b[31m7")) == "no letter \\x1b[31m7"
