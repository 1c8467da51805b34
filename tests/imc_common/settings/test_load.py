"""Sources and mistakes of settings. Also covers model.py, values.py and toml.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imc_common.settings import Endpoint, Loaded, Mistake, Settings, SettingsError, load, masked
from imc_common.settings.toml import effective


def loaded(toml: str, folder: Path, env: dict[str, str] | None = None, **cli: object) -> Loaded:
    """Settings from a file with this text, these variables and these options."""
    config = folder / "imc.toml"
    config.write_text(toml)
    return load(config, env or {}, cli)


def mistakes(toml: str, folder: Path, env: dict[str, str] | None = None, **cli: object) -> list[Mistake]:
    """The mistakes in them."""
    with pytest.raises(SettingsError) as caught:
        loaded(toml, folder, env, **cli)
    return caught.value.mistakes


def test_the_defaults_need_no_source() -> None:
    """All values are the defaults of the class."""
    result = load(None, {}, {})
    assert result.settings == Settings()
    assert set(result.sources.values()) == {"default"}
    assert set(result.sources) == set(Settings.model_fields)


def test_the_command_line_overrides_the_environment_which_overrides_the_file(tmp_path: Path) -> None:
    """Each value has its source."""
    env = {"IMC_HASH_SIZE": "6", "IMC_MANAGER": "boss"}
    result = loaded("hash_size = 5\nmanager = 'm'\nmax_body = 10", tmp_path, env, hash_size="7", db_url=None)
    settings = result.settings
    assert (settings.hash_size, settings.manager, settings.max_body) == (7, "boss", 10)
    sources = [result.sources[name] for name in ("hash_size", "manager", "max_body", "db_url")]
    assert sources == ["command line", "environment", str(tmp_path / "imc.toml"), "default"]


def test_all_mistakes_are_reported_together(tmp_path: Path) -> None:
    """Each with its source, key, problem and allowed values."""
    toml = "hash_size = 44\nowner_exit = 'stay'\nroom_patern = ''\n[kafka]\nx = 1"
    found = mistakes(toml, tmp_path, {"IMC_CREATE_ON_JOIN": "perhaps"}, lease_ttl="soon")
    file = str(tmp_path / "imc.toml")
    by_key = {mistake.key: mistake for mistake in found}
    assert len(found) == 6
    assert by_key["hash_size"].allowed == "a whole number from 0 to 12"
    assert by_key["owner_exit"].source == file
    assert by_key["owner_exit"].allowed == "confirm, destroy, refuse"
    assert by_key["room_patern"].problem == "there is no such setting, did you mean room_pattern?"
    assert by_key["kafka"].problem == "there is no such setting"
    assert (by_key["create_on_join"].source, by_key["create_on_join"].allowed) == (
        "environment",
        "true, false",
    )
    assert by_key["lease_ttl"].source == "command line"
    assert str(by_key["owner_exit"]).startswith(f"{file}: owner_exit: input should be")


def test_an_unknown_key_alone_is_a_mistake(tmp_path: Path) -> None:
    """Even if all values are valid."""
    assert [mistake.key for mistake in mistakes("hashsize = 4", tmp_path)] == ["hashsize"]


def test_a_missing_or_malformed_file_is_a_mistake(tmp_path: Path) -> None:
    """It names the file and has no key."""
    [found] = mistakes("hash_size 4", tmp_path)
    assert "is not TOML" in str(found)
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load(tmp_path / "none.toml", {}, {})


def test_unknown_variables_are_ignored_unless_they_look_misspelt() -> None:
    """Kubernetes sets IMC_PORT_5060_UDP for a service named imc; IMC_HASHSIZE is a mistake."""
    assert load(None, {"IMC_PORT_5060_UDP": "x", "IMC_SERVICE_HOST": "h", "PATH": "/"}, {})
    with pytest.raises(SettingsError, match=r"environment: IMC_HASHSIZE: .*, did you mean hash_size"):
        load(None, {"IMC_HASHSIZE": "4"}, {})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (
            "listen",
            "udp:0.0.0.0:5060, tls:[::1]:0",
            (Endpoint("udp", "0.0.0.0", 5060), Endpoint("tls", "::1", 0)),
        ),
        ("domains", "Example.org 127.0.0.1,[::1]", ("example.org", "127.0.0.1", "[::1]")),
        ("domains", "", ()),
        ("extra_hdrs", r"P-Flags: 3\r\nX-Y:z\r\n", ("P-Flags: 3", "X-Y: z")),
        ("extra_hdrs", ["P-Flags: 3"], ("P-Flags: 3",)),
        ("accept_types", "text/plain,*/*", ("text/plain", "*/*")),
        ("create_on_join", "no", False),
        ("lease_ttl", "0.5", 0.5),
        ("manager", "", ""),
        ("sender_prefix", "", ""),
        ("outbound_proxy", "sip:[::1]:5070;transport=tcp", "sip:[::1]:5070;transport=tcp"),
        ("outbound_proxy", "", ""),
        ("advertise", "sip.example.org:5070", "sip.example.org:5070"),
        ("db_url", "unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("db_url", "redis+sentinel://h1:26379,h2/imc", "redis+sentinel://h1:26379,h2/imc"),
        ("data_dir", "/var/lib/imc", Path("/var/lib/imc")),
    ],
)
def test_values_are_parsed_from_text(name: str, value: object, expected: object) -> None:
    """Such as in the environment and on the command line."""
    assert getattr(load(None, {}, {name: value}).settings, name) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("db_url", "mysql://h"), ("db_url", "localhost"), ("db_url", "redis://"), ("db_url", "unix://"),
        ("listen", "udp:5060"), ("listen", "sctp:h:1"), ("listen", "udp:h:65536"), ("listen", ""),
        ("listen", 5),
        ("domains", "a b!"), ("domains", "example.org:5060"), ("domains", 0),
        ("extra_hdrs", "no header"), ("extra_hdrs", "Via: x"), ("extra_hdrs", ["X: a\r\nTo: b"]),
        ("extra_hdrs", ["X: a\x00"]), ("extra_hdrs", ["C: text/html"]),
        ("accept_types", "text"), ("accept_types", "*/plain"),
        ("imc_cmd_start_char", ""), ("imc_cmd_start_char", "##"), ("imc_cmd_start_char", "a"),
        ("imc_cmd_start_char", " "), ("imc_cmd_start_char", "é"),
        ("outbound_proxy", "h:5060"), ("outbound_proxy", "sip:u@h"), ("outbound_proxy", "sip:h:0"),
        ("outbound_proxy", "sip:h;transport=sctp"),
        ("advertise", "h:x"), ("advertise", "h:70000"),
        ("room_pattern", "["), ("manager", "a b"), ("rooms_table", "a{1}"), ("members_table", ""),
        ("sender_prefix", "{port}"), ("sender_prefix", "{user.x}"), ("sender_prefix", "{0}"),
        ("sender_prefix", "{"), ("sender_prefix", "a\nb"), ("sender_prefix", "{user:d}"),
        ("hash_size", -1), ("hash_size", True), ("hash_size", "4.5"), ("lease_ttl", "nan"), ("lease_ttl", 0),
        ("drain_timeout", "inf"), ("max_body", 0), ("delivery_chunk", 0), ("max_attempts", 0),
        ("durability", "disk"), ("log_level", "loud"), ("data_dir", 3),
    ],
)  # fmt: skip
def test_a_mistake_says_which_values_are_allowed(name: str, value: Any) -> None:
    """Each type of setting refuses invalid values."""
    with pytest.raises(SettingsError) as caught:
        load(None, {}, {name: value})
    assert {mistake.key for mistake in caught.value.mistakes} == {name}
    assert all(mistake.allowed and mistake.problem for mistake in caught.value.mistakes)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:pw@h:1/0", "redis://u:***@h:1/0"),
        ("redis://:p%40w@h", "redis://:***@h"),
        ("redis://pw@h", "redis://***@h"),
        ("redis://h/0?password=pw&x=1", "redis://h/0?password=***&x=1"),
        ("redis+sentinel://u:pw@a,b/m?sentinel_password=pw", "redis+sentinel://u:***@a,b/m?sentinel_password=***"),
        ("redis://u:p/w@h", "redis://u:***@h"),
        ("redis://u:p@w@h/0", "redis://u:***@h/0"),
        ("redis://h/0", "redis://h/0"),
        ("unix://u:pw@/run/r.sock", "unix://u:***@/run/r.sock"),
        ("nonsense", "nonsense"),
    ],
)  # fmt: skip
def test_passwords_in_a_url_are_masked(url: str, shown: str) -> None:
    """In the user info, with or without a user, and in parameters."""
    assert masked(url) == shown


def test_representations_and_mistakes_have_no_passwords() -> None:
    """So a traceback shows none."""
    assert "secret" not in repr(Settings(db_url="redis://u:secret@h"))
    assert "secret" not in str(Settings(db_url="redis://u:secret@h"))
    with pytest.raises(SettingsError) as caught:
        load(None, {}, {"db_url": "mysql://u:secret@h"})
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_an_endpoint_is_printed_as_it_is_written() -> None:
    """IPv6 has brackets."""
    for text in ("udp:127.0.0.1:5060", "tls:[::1]:5061"):
        assert str(Endpoint.parse(text)) == text


@pytest.mark.parametrize(
    ("listen", "token", "right"),
    [
        ("127.0.0.1:8888", "", True),
        ("[::1]:8888", "", True),
        ("localhost:8888", "", True),
        ("0.0.0.0:8888", "", False),
        ("mi.example.org:8888", "", False),
        ("0.0.0.0:8888", "secret", True),
        ("127.0.0.1:8888", "two words", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1:99999", "", False),
    ],
)
def test_mi_on_a_reachable_address_needs_a_token(listen: str, token: str, right: bool) -> None:
    """Only loopback needs none. The token is never shown."""
    if not right:
        with pytest.raises(SettingsError):
            load(None, {}, {"mi_listen": listen, "mi_token": token})
        return
    loaded = load(None, {}, {"mi_listen": listen, "mi_token": token})
    assert "secret" not in repr(loaded.settings) + effective(loaded)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"members_table": "imc_rooms"}, "members_table: it must differ from rooms_table"),
        ({"history_table": "imc_members"}, "history_table: it must differ from members_table"),
        ({"rooms_table": "x", "history_table": "x"}, "history_table: it must differ from rooms_table"),
        ({"rooms_table": "imc_devices"}, "rooms_table: imc uses this prefix for other keys"),
    ],
)
def test_each_kind_of_data_has_keys_of_its_own(given: dict[str, str], problem: str) -> None:
    """A room and its members under one key would destroy each other."""
    with pytest.raises(SettingsError, match=problem):
        load(None, {}, given)


def test_rooms_of_clients_are_in_a_served_domain() -> None:
    """Requests to a room elsewhere would get 404."""
    both = {"conference_domain": "conf.example.org", "domains": "example.org"}
    with pytest.raises(SettingsError, match="conference_domain: it must be one of the domains"):
        load(None, {}, both)
    assert load(None, {}, {**both, "domains": "example.org,Conf.Example.Org"})
    assert load(None, {}, {"conference_domain": "conf.example.org"})
    assert load(None, {}, {"domains": "example.org"})
