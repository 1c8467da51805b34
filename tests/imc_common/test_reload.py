"""SIGHUP: what changes at once, what needs a restart, what stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from imc_common.reload import FOREIGN, LIVE, Role, plan, reload
from imc_common.settings import Mistake, Settings, SettingsError


class Part:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[Settings] = []

    def reload(self, settings: Settings) -> None:
        self.given.append(settings)


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    """The test changes how lines are written."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("role", ["edge", "worker"])
def test_names_are_settings(role: Role) -> None:
    """A setting that is renamed has to be renamed here, too."""
    assert LIVE[role] | FOREIGN[role] <= set(Settings.model_fields)
    assert not LIVE[role] & FOREIGN[role]


def test_some_change_and_some_need_a_restart() -> None:
    """What cannot change keeps its old value; another role's settings are nobody's concern."""
    wanted = Settings(sender_prefix="", hash_size=5, max_members=7)
    settings, changed, restart = plan(Settings(), wanted, "edge")
    assert (changed, restart) == (("sender_prefix",), ("hash_size",))
    assert (settings.sender_prefix, settings.hash_size, settings.max_members) == ("", 4, 500)
    assert plan(Settings(), wanted, "worker")[1:] == (("max_members",), ("hash_size",))


def test_parts_get_the_settings_to_go_on_with() -> None:
    """And the log says what came of it."""
    part = Part()
    with capture_logs() as lines:
        settings = reload(Settings(), lambda: Settings(max_backlog=1, hash_size=5), "edge", [part])
    assert part.given == [settings]
    assert (settings.max_backlog, settings.hash_size) == (1, 4)
    said: list[Any] = [(line["event"], line.get("changed") or line.get("settings")) for line in lines]
    assert said == [
        ("settings read again", ["max_backlog"]),
        ("these settings take effect with a restart", ["hash_size"]),
    ]


def test_nothing_changed_nothing_is_touched() -> None:
    """One line says so."""
    part = Part()
    with capture_logs() as lines:
        assert reload(Settings(), Settings, "worker", [part]) == Settings()
    assert (part.given, [line["event"] for line in lines]) == ([], ["settings read again"])


def test_with_a_mistake_everything_stays() -> None:
    """Every mistake is told."""

    def wrong() -> Settings:
        raise SettingsError([Mistake("file", "hash_size", "is wrong", "a number")])

    part, now = Part(), Settings()
    with capture_logs() as lines:
        assert reload(now, wrong, "edge", [part]) is now
    assert part.given == []
    assert lines[0]["mistakes"] == ["file: hash_size: is wrong (allowed: a number)"]


def test_the_log_level_changes_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """For loggers that wrote before as well."""
    log = structlog.get_logger("imc.test")
    reload(Settings(log_level="error"), lambda: Settings(log_level="warning", log_format="json"), "edge", [])
    log.info("not this")
    log.warning("but this")
    assert "but this" in (written := capsys.readouterr().err)
    assert "not this" not in written
    reload(Settings(log_level="warning"), lambda: Settings(log_level="debug", log_format="json"), "edge", [])
    log.debug("now this")
    assert "now this" in capsys.readouterr().err
