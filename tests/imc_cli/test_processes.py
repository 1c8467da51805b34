"""Settings of the command line in the processes that it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from imc_cli.processes import argv, environment
from imc_common.settings import Settings, load

GIVEN = {
    "db_url": "redis://u:secret@h/1",
    "listen": "udp:127.0.0.1:5070,tcp:[::1]:5070",
    "extra_hdrs": "X-One: a, b\nX-Two: c",
    "domains": "example.org example.com",
    "create_on_join": "false",
    "check_on_create": "true",
    "max_body": "4000",
    "lease_ttl": "1.5",
    "room_pattern": "a,b|c d",
    "data_dir": "/some where",
    "owner_exit": "refuse",
}


@pytest.mark.parametrize("name", GIVEN)
def test_every_kind_of_setting_is_passed_on_unchanged(name: str) -> None:
    """In the environment of the process, which parses the same value."""
    loaded = load(None, {}, {name: GIVEN[name]})
    passed = environment(loaded, {"HOME": "/"})
    assert set(passed) == {"HOME", f"IMC_{name.upper()}"}
    assert load(None, passed, {}).settings == loaded.settings
    assert loaded.settings != Settings()


def test_the_command_line_overrides_environment_and_file_in_started_processes(tmp_path: Path) -> None:
    """The process reads the settings file itself."""
    config = tmp_path / "imc.toml"
    config.write_text("hash_size = 5\nmax_body = 100\nmanager = 'boss'\n")
    env = {"IMC_HASH_SIZE": "6", "IMC_MAX_BODY": "200"}
    loaded = load(config, env, {"hash_size": "7"})
    assert argv("imc_edge", loaded)[1:] == ["-P", "-m", "imc_edge", "--config", str(config)]
    settings = load(config, environment(loaded, env, max_body=300), {}).settings
    assert (settings.hash_size, settings.max_body, settings.manager) == (7, 300, "boss")


def test_arguments_of_started_processes_have_no_password() -> None:
    """All users can see arguments in the process list."""
    assert "secret" not in " ".join(argv("imc_edge", load(None, {}, {"db_url": GIVEN["db_url"]})))
