"""SIP messages of the simulated phones, read without imc's codec, so that they show its faults."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

Headers = Iterable[tuple[str, str]]

_ANGLE = re.compile(r"<([^>]*)>")
_TAG = re.compile(r"^(?:[^<]*<[^>]*>|[^<;]*).*?;tag=([^;\s]+)")
_COPIED = ("via", "from", "call-id", "cseq")
_BRANCH = re.compile(r"branch=([^;,\s]+)")


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a response: start line, headers with names in lower case, body."""

    start: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> Message:
        head, _, body = data.partition(b"\r\n\r\n")
        start, *lines = head.decode().split("\r\n")
        fields = (line.partition(":") for line in lines)
        return cls(start, tuple((name.strip().lower(), value.strip()) for name, _, value in fields), body)

    def get(self, name: str) -> str:
        """The first header of this name, empty without one."""
        return next((value for known, value in self.headers if known == name), "")

    @property
    def status(self) -> int:
        """The status of a response, 0 for a request."""
        return int(self.start[8:11]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        return self.start.partition(" ")[0]

    @property
    def uri(self) -> str:
        """The Request-URI."""
        return self.start.split(" ")[1]

    @property
    def cseq(self) -> int:
        return int(self.get("cseq").split()[0])

    @property
    def branch(self) -> str:
        found = _BRANCH.search(self.get("via"))
        return found[1] if found else ""

    def tag(self, name: str) -> str:
        """The tag in From or To, empty without one."""
        found = _TAG.search(self.get(name))
        return found[1] if found else ""

    def address(self, name: str) -> str:
        """The URI in From, To, Contact or another header, without angle brackets."""
        value = self.get(name)
        found = _ANGLE.search(value)
        return found[1] if found else value.partition(";")[0].strip()


def message(start: str, headers: Headers, body: bytes = b"") -> bytes:
    """The bytes of a message."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"{start}\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def response(request: Message, status: int, tag: str = "", headers: Headers = ()) -> bytes:
    """The response to a request (RFC 3261 §8.2.6.2); ``tag`` is that of To, if the request has none."""
    to = request.get("to")
    if tag and not request.tag("to"):
        to += f";tag={tag}"
    copied = [(name, value) for name, value in request.headers if name in _COPIED]
    return message(f"SIP/2.0 {status} X", [*copied, ("To", to), *headers])


def parts_of(content_type: str, body: bytes) -> list[Message]:
    """The parts of a multipart body, each with an empty start line."""
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    found = [part for part in body.split(b"--" + boundary)[1:] if not part.startswith(b"--")]
    return [Message.parse(b"\r\n" + part.removeprefix(b"\r\n").removesuffix(b"\r\n")) for part in found]
