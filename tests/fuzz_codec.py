"""Coverage-guided fuzzing of the SIP codec: ``python -m tests.fuzz_codec --seconds 60``.

It mutates the torture messages. An input that reaches a new pair of lines in the codec joins the corpus.
Every input goes through the parser, the validator, all accessors, the response builder and the stream framer
(in one piece and in two). Only the codec's own error may be raised, an input may take a few milliseconds per
kilobyte, and the process must not grow. The same seed repeats a run exactly.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import imc_common.sip
from imc_common.sip import (
    Limits,
    Request,
    Response,
    SipError,
    SipParseError,
    build_response,
    parse_message,
    validate_request,
    validate_response,
)
from imc_common.sip.framing import Framer
from tests.conformance.as_message import as_message
from tests.conformance.cases import CASES
from tests.mutator import Mutator

SECONDS_PER_KILOBYTE = 0.005
"""CPU seconds allowed per kilobyte, and once more for each input."""
GROWTH = 64 * 1024
"""Kilobytes that the process may grow after the first tenth of a run: the codec's caches are bounded."""
WIDE = Limits(message=10**6, head=10**6, header=10**6, headers=10**5, uri=10**6)
"""Limits for what we serialise: compact names become long ones, and a response repeats overlong headers."""
TRACED = 4096
"""Bytes of the longest input whose path through the codec is traced."""
_CODEC = str(Path(imc_common.sip.__file__).parent)
_ACCESSORS = ("via", "response_via", "vias", "from_", "to", "call_id", "cseq", "content_type", "date")
_OF_REQUESTS = (*_ACCESSORS, "target", "max_forwards", "expires")

Edge = tuple[CodeType, int, int]


class Finding(Exception):
    """An input that the codec handles badly, and why."""

    def __init__(self, data: bytes, why: str) -> None:
        super().__init__(f"{why}: {data!r}")
        self.data = data


@dataclass
class Report:
    """The counts of a run."""

    inputs: int = 0
    accepted: int = 0
    kept: int = 0
    slowest: float = 0.0
    """CPU seconds of the slowest input."""
    growth: int = 0
    """Kilobytes."""
    edges: set[Edge] = field(default_factory=set)


def examine(data: bytes) -> bool:
    """Put one input through the whole codec; returns whether it was a valid message.

    Raises AssertionError where the codec contradicts itself, and any exception of the codec except its own
    errors.
    """
    cut = len(data) // 2
    assert _stream(data) == _stream(data[:cut], data[cut:]), (
        "the framer's result depends on where the input is cut"
    )
    try:
        message = parse_message(data)
    except SipParseError as error:
        if error.request is not None:
            _check_response(error.request, error)
        return False
    for name in _OF_REQUESTS if isinstance(message, Request) else _ACCESSORS:
        with suppress(SipError):
            getattr(message, name)
    assert parse_message(message.to_bytes(), limits=WIDE) == message, (
        "serialised and parsed again, it is another message"
    )
    try:
        if isinstance(message, Response):
            validate_response(message)
            return True
        validate_request(message)
    except SipError as error:
        if isinstance(message, Request):
            _check_response(message, error)
        return False
    _check_response(message, SipError(202, "Accepted"))
    message.from_.uri.is_sip and message.from_.uri.address()
    return True


def _check_response(request: Request, error: SipError) -> None:
    """The response to the request parses, has the same status and no headers but ours."""
    response = build_response(
        request, error.status, error.reason, "us", error.headers, source=("192.0.2.1", 5060)
    )
    parsed = parse_message(response, limits=WIDE)
    assert isinstance(parsed, Response), "the response does not parse as one"
    assert parsed.status == error.status, "the response has another status"
    assert response.endswith(b"Content-Length: 0\r\n\r\n"), "the response has headers that we did not make"


def _stream(*pieces: bytes) -> list[str]:
    """The messages and errors that the framer gives for these pieces."""
    framer, seen = Framer(), []
    for piece in pieces:
        framer.receive(piece)
        while True:
            try:
                item = framer.next()
            except SipParseError as error:
                seen.append(str(error))
                if error.fatal:
                    return seen
            else:
                if item is None:
                    break
                if item != "ping":  # successive keep-alives count as one, so a cut may make two of them
                    seen.append(repr(item))
    return seen


class Fuzzer:
    """One run with its corpus."""

    def __init__(self, seed: int) -> None:
        originals = [case.data for case in CASES]
        self.corpus = originals + [
            as_message(case.data, "fuzz") for case in CASES if case.message is not None
        ]
        self.mutator = Mutator(random.Random(seed))
        self.report = Report()

    def run(self, seconds: float) -> Report:
        """Fuzz for so many seconds. Raises Finding."""
        start = time.monotonic()
        before = None
        for data in self.corpus[:]:
            self._try(data)
        while (passed := time.monotonic() - start) < seconds:
            if before is None and passed > seconds / 10:
                before = _memory()
            self._try(self.mutator.mutate(self.corpus))
        self.report.growth = _memory() - (before or _memory())
        if self.report.growth > GROWTH:
            raise Finding(b"", f"the process grew by {self.report.growth} kB")
        return self.report

    def _try(self, data: bytes) -> None:
        self.report.inputs += 1
        allowed = SECONDS_PER_KILOBYTE * (1 + len(data) / 1024)
        try:
            took = self._timed(data)
            if took > allowed:  # another process may have used the processor's caches
                took = min(took, *(self._timed(data) for _ in range(20)))
        except Exception as error:
            raise Finding(data, f"{type(error).__name__}: {error}") from error
        self.report.slowest = max(self.report.slowest, took)
        if took > allowed:
            raise Finding(data, f"{took * 1000:.1f} ms for {len(data)} bytes")
        # A coverage measurement needs the only trace function; tracing long inputs is slow.
        if sys.gettrace() is None and len(data) <= TRACED:
            new = edges_of(lambda: examine(data)) - self.report.edges
            if new:
                self.report.edges |= new
                self.report.kept += 1
                self.corpus.append(data)

    def _timed(self, data: bytes) -> float:
        before = time.thread_time()
        self.report.accepted += examine(data)
        return time.thread_time() - before


def edges_of(action: Callable[[], object]) -> set[Edge]:
    """The pairs of successive lines that an action executes in the codec."""
    edges: set[Edge] = set()

    def enter(frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(_CODEC):
            return None
        last = 0

        def line(frame: FrameType, _event: str, _argument: Any) -> Any:
            nonlocal last
            edges.add((code, last, frame.f_lineno))
            last = frame.f_lineno
            return line

        return line

    sys.settrace(enter)
    try:
        action()
    finally:
        sys.settrace(None)
    return edges


def _memory() -> int:
    """Peak resident memory so far, in kilobytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> int:
    """The command. Its exit status is 0 if nothing was found."""
    parser = argparse.ArgumentParser(description="Fuzz the SIP codec.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--save", type=Path, default=Path("var/fuzz"), help="where a finding is written")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    try:
        report = Fuzzer(options.seed).run(options.seconds)
    except Finding as finding:
        options.save.mkdir(parents=True, exist_ok=True)
        (options.save / f"{options.seed}.bin").write_bytes(finding.data)
        print(finding)
        return 1
    print(
        f"{report.inputs} inputs, {report.accepted} of them valid messages, {report.kept} kept because they "
        f"reached new lines ({len(report.edges)} pairs of lines); "
        f"slowest {report.slowest * 1000:.1f} ms, memory grew by {report.growth} kB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
