"""Both protocols of OpenSIPS's mi_fifo. What follows the second colon tells which one it is.

Since 3.0: ``:reply_fifo:{JSON-RPC request}``; the request ends where its JSON does. Kamailio's jsonrpcs and
kamctl: the JSON alone, with the name of the reply FIFO as its member ``reply_name``. Before:
``:command:reply_fifo`` and a line for each argument, ended by an empty line; the reply is a status line and a
tree of lines. Pure: bytes in, requests out.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal, NamedTuple

MAX_BUFFER = 65536
MAX_HEAD = 1024
"""Maximum length of ``:…:``."""

_BLANK = " \t\r\n"
_DECODER = json.JSONDecoder()
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*', re.DOTALL).fullmatch


class FifoRequest(NamedTuple):
    """One request. `kind` is the protocol, or that it is neither of the two (`text` says why).

    `reply` is the name of the reply FIFO, empty for none. `text` is the JSON. `args` are the old protocol's
    argument values, None if they cannot be parsed.
    """

    kind: Literal["json", "tree", "bad"]
    reply: str = ""
    text: str = ""
    command: str = ""
    args: tuple[str, ...] | None = ()


class FifoParser:
    """Parses the bytes that arrive in the FIFO into requests."""

    def __init__(self) -> None:
        self._buffer = ""

    def feed(self, data: bytes) -> list[FifoRequest]:
        """The requests that these bytes complete, in order."""
        self._buffer += data.decode("utf-8", "surrogateescape")
        requests = []
        while True:
            self._buffer = self._buffer.lstrip(_BLANK)
            request = self._next() if self._buffer else None
            if request is None:
                break
            requests.append(request)
        if len(self._buffer) > MAX_BUFFER:
            requests.append(self._bad("it is too long"))
        return requests

    @property
    def waiting(self) -> bool:
        """Whether there is an incomplete request."""
        return bool(self._buffer)

    def drop(self) -> None:
        """Discard an incomplete request: its writer has ended."""
        self._buffer = ""

    def _next(self) -> FifoRequest | None:
        buffer = self._buffer
        if buffer[0] == "{":
            return self._json("", 0)
        if buffer[0] != ":":
            return self._bad("it does not begin with ':'")
        first, colon, rest = buffer[1:].partition(":")
        if "\n" in first or (not colon and len(first) > MAX_HEAD):
            return self._bad("there is no second ':'")
        head = rest.lstrip(" \t")[:1]
        if not head:
            return None
        if head in "{[":
            return self._json(first, len(buffer) - len(rest.lstrip(" \t")))
        if not first.strip():
            return self._bad("the command is empty")
        end = buffer.find("\n\n")
        if end < 0:
            return None
        self._buffer = buffer[end + 2 :]
        reply, *lines = rest[: end - (len(buffer) - len(rest))].split("\n")
        return FifoRequest("tree", reply.rstrip(_BLANK), command=first, args=_arguments(lines))

    def _json(self, reply: str, start: int) -> FifoRequest | None:
        try:
            value, end = _DECODER.raw_decode(self._buffer, start)
        except (ValueError, RecursionError) as error:
            if isinstance(error, json.JSONDecodeError) and _may_go_on(error):
                return None
            request = FifoRequest("json", reply, self._buffer[start:])
            self._buffer = ""
            return request
        if not reply and isinstance(value, dict):
            named = value.get("reply_name")
            reply = named if isinstance(named, str) else ""
        request = FifoRequest("json", reply, self._buffer[start:end])
        self._buffer = self._buffer[end:]
        return request

    def _bad(self, reason: str) -> FifoRequest:
        """Skip to the next empty line, as mi_fifo does after an invalid request."""
        self._buffer = self._buffer.partition("\n\n")[2]
        return FifoRequest("bad", text=reason)


def _may_go_on(error: json.JSONDecodeError) -> bool:
    """Whether only the end of the text is missing: the rest may still arrive."""
    return error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string")


def _arguments(lines: list[str]) -> tuple[str, ...] | None:
    """The values of ``value``, ``name::value``, ``"value"`` and ``name::"value"`` lines."""
    values = []
    rest = lines[:]
    while rest:
        line = rest.pop(0).strip()
        if not line:
            continue
        value = line
        if not line.startswith('"'):
            name, separator, after = line.partition("::")
            value = after.strip() if separator else line
            if '"' in name or ('"' in value and not value.startswith('"')):
                return None
        if value.startswith('"'):
            while _QUOTED(value) is None:  # a quoted value may hold line breaks
                if not rest:
                    return None
                value += "\n" + rest.pop(0)
            value = re.sub(r'\\"', '"', value.strip()[1:-1])
        values.append(value)
    return tuple(values)


class Node(NamedTuple):
    """A line of a tree reply: ``NAME:: value attribute=…``, and the lines below it."""

    name: str = ""
    value: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    kids: tuple[Node, ...] = ()


def written_tree(code: int, reason: str, nodes: tuple[Node, ...] = ()) -> str:
    """A whole reply of the old protocol; it ends with an empty line."""
    return "\n".join([f"{code} {reason}", *_lines(nodes, 0), "", ""])


def _lines(nodes: tuple[Node, ...], level: int) -> list[str]:
    lines = []
    for node in nodes:
        head = f"{node.name}:: " if node.name else ""
        attributes = "".join(f" {name}={value}" for name, value in node.attributes)
        lines += ["\t" * level + head + node.value + attributes, *_lines(node.kids, level + 1)]
    return lines


def tree_of(result: Any) -> tuple[Node, ...]:
    """The tree for a command's JSON result, as the old commands of that name wrote it."""
    match result:
        case {"ROOMS": [*rooms]}:
            return tuple(
                Node(
                    "ROOM", attributes=tuple((name, str(room[name])) for name in ("URI", "MEMBERS", "OWNER"))
                )
                for room in rooms
            )
        case {"ROOM": str(room), "MEMBERS": [*members], "NO_MEMBERS": int(number)}:
            kids = tuple(Node("MEMBER", uri) for uri in members)
            return (Node("ROOM", room, (("NR_OF_MEMBERS", str(number)),), kids),)
        case dict():
            return tuple(_named(name, value) for name, value in result.items())
        case list():
            return tuple(_named("", value) for value in result)
    return (Node(value=str(result)),)


def _named(name: str, value: Any) -> Node:
    if isinstance(value, int) and ":" in name:  # a statistic
        return Node(value=f"{name} = {value}")
    if isinstance(value, dict | list):
        return Node(name, kids=tree_of(value))
    return Node(name, str(value))
