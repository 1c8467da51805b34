"""No regular expression of the codec backtracks, and no input takes long. Also covers grammar.py."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import imc_common.sip
from imc_common.sip import Request, SipError, parse_message, validate_request
from imc_common.sip.framing import Framer
from imc_common.sip.limits import DEFAULT, Limits
from tests.imc_common.sip.samples import message


def patterns() -> dict[str, re.Pattern[str]]:
    """Every compiled pattern in the modules of the codec, also those bound as ``match`` or ``fullmatch``."""
    found = {}
    for info in pkgutil.iter_modules(imc_common.sip.__path__):
        module = importlib.import_module(f"imc_common.sip.{info.name}")
        for name, value in vars(module).items():
            pattern = getattr(value, "__self__", value)
            if isinstance(pattern, re.Pattern):
                found[f"{info.name}.{name}"] = pattern
    return found


def backtracking(node: Any) -> list[Any]:
    """The repeats of a parsed pattern that may backtrack."""
    found = []
    for op, argument in node:
        if op is _constants.ATOMIC_GROUP and len(argument) == 1 and argument[0][0] is _constants.MAX_REPEAT:
            found += backtracking(argument[0][1][2])  # the atomic group prevents backtracking
            continue
        if op in (_constants.MAX_REPEAT, _constants.MIN_REPEAT) and argument[0] != argument[1]:
            found.append(argument)
        for part in argument if isinstance(argument, tuple | list) else [argument]:
            for inner in part if isinstance(part, list) else [part]:
                if isinstance(inner, _parser.SubPattern):
                    found += backtracking(inner)
    return found


def test_the_check_finds_repeats_that_backtrack() -> None:
    """In groups, alternatives and other repeats."""
    for text in ("a*", "(a+)", "(?:x|(?:y?z))", "(?>(?:(?:a*)b)+)", "(?=a*)"):
        assert backtracking(_parser.parse(text)), text
    assert not backtracking(_parser.parse("a*+(?>(?:b++|c{2}[d]?+)*)"))


@pytest.mark.parametrize("name", patterns())
def test_no_group_is_repeated_possessively(name: str) -> None:
    """Python before 3.11.5 (Debian 12 has 3.11.2) matches those wrongly, but atomic groups rightly."""
    parsed = _parser.parse(patterns()[name].pattern)
    assert [repeat for repeat in possessive(parsed) if not is_plain(repeat[2])] == []


def possessive(node: Any) -> list[Any]:
    """The possessive repeats of a parsed pattern."""
    found = [argument for op, argument in node if op is _constants.POSSESSIVE_REPEAT]
    for _, argument in node:
        for part in argument if isinstance(argument, tuple | list) else [argument]:
            for inner in part if isinstance(part, list) else [part]:
                if isinstance(inner, _parser.SubPattern):
                    found += possessive(inner)
    return found


def is_plain(repeated: Any) -> bool:
    """Whether one character is repeated, not a group."""
    plain = {_constants.IN, _constants.LITERAL, _constants.NOT_LITERAL, _constants.ANY}
    return len(repeated) == 1 and repeated[0][0] in plain


@pytest.mark.parametrize("name", patterns())
def test_every_repeat_is_possessive(name: str) -> None:
    """So a match takes time linear in its input."""
    assert backtracking(_parser.parse(patterns()[name].pattern)) == []


WIDE = Limits(message=10**6, head=10**6, header=10**6, headers=10**5, uri=10**6)

NASTY = {
    "quotes": '"' * 60_000,
    "escaped quotes": '"' + '\\"' * 30_000,
    "backslashes": '"' + "\\" * 60_000,
    "semicolons": "<sip:a@b.example>" + ";" * 60_000,
    "parameters": "<sip:a@b.example>" + ";a" * 30_000,
    "brackets": "<" * 60_000,
    "commas": "," * 60_000,
    "percents": "sip:" + "%" * 60_000,
    "escapes": "sip:" + "%41" * 20_000 + "!",
    "dots": "sip:a@" + "a." * 30_000 + "-",
    "colons": "sip:a@[" + ":" * 60_000,
    "blanks": " " * 60_000 + "x",
    "tokens": "a " * 30_000 + "<",
    "users": "sip:" + "a" * 60_000,
    "folds": "a\r\n " * 15_000,
    "controls": '"\\\x01' * 20_000,
}


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("header", ["Via", "From", "To", "CSeq", "Contact", "Content-Type", "Call-ID", "X"])
def test_hostile_header_values_are_refused_within_5_ms(name: str, header: str) -> None:
    """With 64 KB that would make a backtracking pattern slow."""
    data = message(**{header.replace("-", "_").lower(): NASTY[name]})
    assert takes_less_than(0.005, lambda: look(data))


@pytest.mark.parametrize("name", NASTY)
def test_hostile_values_of_64_kb_take_bounded_time(name: str) -> None:
    """Also beyond the limits: five headers of 64 KB in 1.5 s."""

    def read() -> None:
        for header in ("via", "from", "to", "contact", "content_type"):
            look(message(**{header: NASTY[name]}), WIDE)

    assert takes_less_than(1.5, read)


@pytest.mark.parametrize("name", NASTY)
def test_parsing_time_grows_linearly_with_the_size(name: str) -> None:
    """Four times the size takes about four times as long; quadratic growth would take sixteen times."""
    value = NASTY[name]

    def cost(share: int) -> float:
        part = value[: len(value) // share]
        return best_of_three(lambda: [look(message(**{h: part}), WIDE) for h in ("via", "to", "contact")])

    # A part may be refused early because of its truncated end, while the whole is parsed: 50 ms are allowed
    # for that. Quadratic growth takes seconds here.
    assert any(cost(1) < 10 * cost(4) + 0.05 for _ in range(3))


def look(data: bytes, limits: Limits = DEFAULT) -> None:
    """Parse and validate; a SipError is fine."""
    try:
        request = parse_message(data, limits=limits)
        assert isinstance(request, Request)
        validate_request(request)
    except SipError:
        pass


def takes_less_than(seconds: float, action: Any) -> bool:
    """Whether the best of many runs does: other processes use the processor's caches, too."""
    return any(best_of_three(action) < seconds for _ in range(10))


def best_of_three(action: Any) -> float:
    """Seconds of CPU: the best of three runs, because the machine has other work."""
    times = []
    for _ in range(3):
        before = time.thread_time()
        action()
        times.append(time.thread_time() - before)
    return min(times)


def test_a_header_that_comes_byte_by_byte_takes_linear_time() -> None:
    """8 KB, one byte at a time: nothing is searched twice."""
    data = b"MESSAGE sip:a@b.example SIP/2.0\r\n" + b"X: y\r\n" * 1300

    def feed() -> None:
        framer = Framer()
        for byte in data:
            framer.receive(bytes((byte,)))
            assert framer.next() is None

    assert takes_less_than(0.5, feed)
