"""One MESSAGE with one documented trait of other SIP stacks, and what an edge has to make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALICE = "alice@example.org"
ROOM = "room@example.org"
HEADERS = {
    "Via": "SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK776asdhds;rport",
    "Max-Forwards": "70",
    "From": "<sip:alice@example.org>;tag=1928301774",
    "To": "<sip:room@example.org>",
    "Call-ID": "a84b4c76e66710",
    "CSeq": "314159 MESSAGE",
    "Content-Type": "text/plain",
}


@dataclass(frozen=True)
class Trait:
    """A message; the status of its response; and for a 202 what the workers have to get."""

    about: str
    """The trait, in words; unique."""
    data: bytes
    status: int = 202
    sender: str = ALICE
    room: str = ROOM
    type: str = "message"
    """Of the room request: ``message``, or the name of a command."""
    user: str = ""
    """The user that a command names."""
    name: str | None = None
    """The display name, where the case is about it; likewise the next three."""
    content_type: str | None = None
    body: bytes | None = None
    hops: int | None = None
    """Max-Forwards of deliveries."""
    fails_today: str = ""
    """The behaviour that is wrong today: the test is a strict xfail."""
    on_streams: bool = True
    """Whether a stream has to behave in the same way."""

    def __str__(self) -> str:
        return self.about


def message(
    body: bytes = b"hello",
    *,
    uri: str = "sip:room@example.org",
    start: str = "",
    raw: dict[str, str] | None = None,
    first: Sequence[str] = (),
    last: Sequence[str] = (),
    without: Sequence[str] = (),
    length: str | None = "",
    **headers: str,
) -> bytes:
    """A MESSAGE of alice's to the room.

    ``Call_ID="x"`` replaces the value of a header; ``raw`` replaces whole lines. ``first`` and ``last`` are
    further lines before and after all others. ``length`` is the value of Content-Length, by default the right
    one; None leaves the header out. ``start`` replaces the Request-Line.
    """
    lines = dict(raw or {})
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    values = {**HEADERS, **changed}
    if length is not None and "Content-Length" not in lines:
        values["Content-Length"] = length or str(len(body))
    head = [start or f"MESSAGE {uri} SIP/2.0", *first]
    for name, value in values.items():
        if name not in without:
            head.append(lines.pop(name, f"{name}: {value}"))
    head += [*lines.values(), *last]
    return "\r\n".join(head).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body
