"""Content-Encoding, and bodies that would be too large without it."""

from __future__ import annotations

import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_common.bodies.encoding import TooLargeError, UnknownEncodingError, inflate
from imc_common.bodies.errors import BodyError

WINDOWS = {"gzip": 31, "deflate": 15, "raw": -15}


def packed(data: bytes, form: str) -> bytes:
    """The data in one of the forms that clients send."""
    stream = zlib.compressobj(9, wbits=WINDOWS[form])
    return stream.compress(data) + stream.flush()


@given(st.binary(max_size=2000), st.sampled_from(sorted(WINDOWS)))
def test_what_was_packed_is_inflated(data: bytes, form: str) -> None:
    """Also deflate without its wrapper (RFC 9110 §8.4.1.2)."""
    assert inflate(packed(data, form), ["gzip" if form == "gzip" else "deflate"], 8192) == data


def test_identity_changes_nothing() -> None:
    """Alone or beside another one."""
    assert inflate(b"hello", ["identity"], 1) == b"hello"
    assert inflate(packed(b"hello", "gzip"), ["GZIP", "Identity"], 100) == b"hello"


@pytest.mark.parametrize("names", [["br"], ["gzip", "gzip"], ["gzip", "br"], ["*"]])
def test_other_encodings_are_unknown(names: list[str]) -> None:
    """And so is one inside another: nobody sends that but to do harm."""
    with pytest.raises(UnknownEncodingError):
        inflate(packed(b"x", "gzip"), names, 100)


@pytest.mark.parametrize("form", sorted(WINDOWS))
def test_a_bomb_is_refused_and_costs_next_to_nothing(form: str) -> None:
    """A megabyte in a kilobyte: only what is allowed is inflated, so the cost follows the limit."""
    bomb = packed(bytes(1 << 20), form)
    name = "gzip" if form == "gzip" else "deflate"
    with pytest.raises(TooLargeError):
        inflate(bomb, [name], 65_535)
    with pytest.raises(TooLargeError):
        inflate(packed(bytes(8193), form), [name], 8192)
    before = time.process_time()
    for _ in range(1000):
        with pytest.raises(TooLargeError):
            inflate(bomb, [name], 65_535)
    assert time.process_time() - before < 5, "5 ms for each would be more than a hundred messages cost"


def test_the_ratio_is_limited_where_the_size_is_not() -> None:
    """Short texts are free."""
    assert len(inflate(packed(bytes(4096), "gzip"), ["gzip"], 65_535)) == 4096
    with pytest.raises(TooLargeError):
        inflate(packed(bytes(16_000), "gzip"), ["gzip"], 65_535)


@pytest.mark.parametrize("form", sorted(WINDOWS))
def test_what_is_cut_off_or_longer_is_malformed(form: str) -> None:
    """Then it is not known what its sender meant."""
    body = packed(b"hello, hello, hello", form)
    for broken in (body[:-1], body + b"x", b"hello", b"", body[:1]):
        with pytest.raises(BodyError):
            inflate(broken, ["gzip" if form == "gzip" else "deflate"], 8192)
