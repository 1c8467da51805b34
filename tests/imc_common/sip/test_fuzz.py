"""A short run of the fuzzer. ``make fuzz`` runs it for longer."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz_codec import Fuzzer, edges_of, examine
from tests.imc_common.sip.samples import message
from tests.imc_common.sip.strategies import unhurried


def test_damaged_messages_raise_only_the_codecs_error() -> None:
    """Hundreds of damaged messages: no other exception, no contradiction, no slow parse, no leak."""
    report = Fuzzer(seed=4475).run(seconds=3)
    assert report.inputs > 100
    assert report.accepted > 0
    if sys.gettrace() is None:
        assert report.kept > 0


@unhurried
@given(st.binary(max_size=300))
def test_random_bytes_raise_only_the_codecs_error(data: bytes) -> None:
    """Alone, and as the header of a request."""
    for bent in (
        data,
        message().replace(b"Call-ID:", b"X: " + data + b"\r\nCall-ID:"),
        message().replace(b"From: ", b"From: " + data),
    ):
        assert examine(bent) in {True, False}  # accepted or refused, but no other exception


def test_the_fuzzer_recognises_new_code_paths() -> None:
    """Different messages execute different pairs of lines."""
    if sys.gettrace() is None:
        assert edges_of(lambda: examine(message())) - edges_of(lambda: examine(b"noise"))
