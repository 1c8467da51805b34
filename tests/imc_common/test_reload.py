"""Reload of settings on SIGHUP: what changes at once, what needs a restart, what stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from imc_common.reload import RELOADABLE, Role, plan, reload
from imc_common.settings import Mistake, Settings, SettingsError


class Part:
    """Records the settings it was given."""

    def __init__(self) -> None:
        self.given: list[Settings] = []

    def reload(self, settings: Settings) -> None:
        self.given.append(settings)


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    """Restore the log configuration that a test changes."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.parametrize(
    ("role", "reloadable", "not_reloadable"),
    [
        ("edge", {"domains", "max_backlog", "log_level"}, {"max_members", "listen", "hash_size"}),
        ("worker", {"max_members", "remove_after_days", "log_level"}, {"domains", "mi_listen", "hash_size"}),
    ],
)
def test_a_role_reloads_the_settings_that_are_declared_for_it(
    role: Role, reloadable: set[str], not_reloadable: set[str]
) -> None:
    """Each setting declares it in `Settings`, the only place."""
    assert reloadable <= RELOADABLE[role]
    assert not not_reloadable & RELOADABLE[role]


def test_a_setting_that_a_role_does_not_use_needs_nothing() -> None:
    """Neither a change nor a restart is reported; the rules for rooms, which MI checks, need a restart."""
    wanted = Settings(max_backlog=1, digest_key_file="keys", domains=("example.org",), max_members=7)
    assert plan(Settings(), wanted, "worker")[1:] == (("max_members",), ("domains",))
    assert plan(Settings(), wanted, "edge")[1:] == (("domains", "max_backlog"), ("digest_key_file",))


def test_reloadable_settings_change_and_the_rest_needs_a_restart() -> None:
    """A setting that needs a restart keeps its old value. Settings of the other role are ignored."""
    wanted = Settings(imc_cmd_start_char="!", hash_size=5, max_members=7)
    settings, changed, restart = plan(Settings(), wanted, "edge")
    assert (changed, restart) == (("imc_cmd_start_char",), ("hash_size",))
    assert (settings.imc_cmd_start_char, settings.hash_size, settings.max_members) == ("!", 4, 500)
    assert plan(Settings(), wanted, "worker")[1:] == (("max_members",), ("hash_size",))


def test_parts_get_the_new_settings_and_the_log_names_them() -> None:
    """The parts, the caller and the log agree."""
    part = Part()
    with capture_logs() as lines:
        settings = reload(Settings(), lambda: Settings(max_backlog=1, hash_size=5), "edge", [part])
    assert part.given == [settings]
    assert (settings.max_backlog, settings.hash_size) == (1, 4)
    said: list[Any] = [(line["event"], line.get("changed") or line.get("settings")) for line in lines]
    assert said == [
        ("settings reloaded", ["max_backlog"]),
        ("settings need a restart", ["hash_size"]),
    ]


def test_a_reload_without_a_change_reaches_no_part() -> None:
    """The log has one line."""
    part = Part()
    with capture_logs() as lines:
        assert reload(Settings(), Settings, "worker", [part]) == Settings()
    assert (part.given, [line["event"] for line in lines]) == ([], ["settings reloaded"])


def test_a_mistake_leaves_all_settings_unchanged() -> None:
    """The log has every mistake."""

    def wrong() -> Settings:
        raise SettingsError([Mistake("file", "hash_size", "is wrong", "a number")])

    part, now = Part(), Settings()
    with capture_logs() as lines:
        assert reload(now, wrong, "edge", [part]) is now
    assert part.given == []
    assert lines[0]["mistakes"] == ["file: hash_size: is wrong (allowed: a number)"]


def test_the_log_level_changes_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Also for loggers that have written before."""
    log = structlog.get_logger("imc.test")
    reload(Settings(log_level="error"), lambda: Settings(log_level="warning", log_format="json"), "edge", [])
    log.info("not this")
    log.warning("but this")
    assert "but this" in (written := capsys.readouterr().err)
    assert "not this" not in written
    reload(Settings(log_level="warning"), lambda: Settings(log_level="debug", log_format="json"), "edge", [])
    log.debug("now this")
    assert "now this" in capsys.readouterr().err
