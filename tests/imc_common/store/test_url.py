"""Database URLs (`db_url`)."""

from __future__ import annotations

import pytest

from imc_common.store.url import RedisUrl, UrlError, parse_url


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("redis://h", RedisUrl("single", (("h", 6379),))),
        ("redis://h:7000/2", RedisUrl("single", (("h", 7000),), db=2)),
        ("redis://u:p%40q@[::1]:7000", RedisUrl("single", (("::1", 7000),), username="u", password="p@q")),
        ("redis://secret@h", RedisUrl("single", (("h", 6379),), password="secret")),
        ("redis://:secret@h/1", RedisUrl("single", (("h", 6379),), db=1, password="secret")),
        ("rediss://h", RedisUrl("single", (("h", 6379),), tls=True)),
        ("unix:///run/a%20b.sock?db=3", RedisUrl("unix", (), "/run/a b.sock", db=3, options={"db": "3"})),
        ("unix://u:p@/run/s", RedisUrl("unix", (), "/run/s", username="u", password="p")),
        ("redis+sentinel://a,b:5/imc/1", RedisUrl("sentinel", (("a", 26379), ("b", 5)), service="imc", db=1)),
        ("redis+cluster://a:1,b:2", RedisUrl("cluster", (("a", 1), ("b", 2)))),
        ("rediss+cluster://a", RedisUrl("cluster", (("a", 6379),), tls=True)),
    ],
)
def test_urls_are_parsed(url: str, parsed: RedisUrl) -> None:
    """Servers, how to find the primary, credentials and options."""
    assert parse_url(url) == parsed


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://h", "scheme 'http'"),
        ("redis://", "'' is not HOST"),
        ("redis://h:0", "'h:0' is not HOST"),
        ("redis://h:\u0661", "is not HOST"),
        ("redis://h:99999", "is not HOST"),
        ("redis://h/x", "'x' is not a database number"),
        ("redis://h?ssl=true", "unknown option ssl"),
        ("redis+sentinel://h", "needs /NAME"),
        ("redis+cluster://h/1", "only database 0"),
    ],
)
def test_a_wrong_url_is_refused_with_the_reason(url: str, said: str) -> None:
    """The error says which part is wrong."""
    with pytest.raises(UrlError, match=said):
        parse_url(url)


def test_errors_do_not_show_the_password() -> None:
    """Neither the error nor the repr of a parsed URL contains it."""
    with pytest.raises(UrlError) as caught:
        parse_url("redis://u:secret@h:x")
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(parse_url("redis://u:secret@h"))
