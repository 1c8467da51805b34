"""A short run of the fuzzer; ``make fuzz`` runs it as long as wanted."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz_codec import Fuzzer, edges_of, examine
from tests.imc_common.sip.samples import message
from tests.imc_common.sip.strategies import unhurried


def test_nothing_comes_out_but_the_codecs_own_error() -> None:
    """Hundreds of bent messages: no other exception, no contradiction, no slow one, no growth."""
    report = Fuzzer(seed=4475).run(seconds=3)
    assert report.inputs > 100
    assert report.accepted > 0
    if sys.gettrace() is None:
        assert report.kept > 0


@unhurried
@given(st.binary(max_size=300))
def test_noise_is_survived(data: bytes) -> None:
    """Bytes without any sense, alone and as the header of a request."""
    for bent in (
        data,
        message().replace(b"Call-ID:", b"X: " + data + b"\r\nCall-ID:"),
        message().replace(b"From: ", b"From: " + data),
    ):
        assert examine(bent) in {True, False}  # taken or refused: nothing else is raised


def test_the_fuzzer_sees_new_ways_through_the_codec() -> None:
    """Two different messages, two different sets of line pairs."""
    if sys.gettrace() is None:
        assert edges_of(lambda: examine(message())) - edges_of(lambda: examine(b"noise"))
