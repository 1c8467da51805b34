"""A plain MESSAGE, and variations of it."""

from __future__ import annotations

FIELDS = [
    ("Via", "SIP/2.0/UDP 192.0.2.10:5071;branch=z9hG4bKnashds8;rport"),
    ("Max-Forwards", "70"),
    ("From", "Alice <sip:alice@example.com>;tag=49583"),
    ("To", "<sip:chat-000@example.org>"),
    ("Call-ID", "asd88asd77a@192.0.2.10"),
    ("CSeq", "1 MESSAGE"),
    ("Content-Type", "text/plain"),
    ("Content-Length", "5"),
]


def message(
    *,
    line: str = "MESSAGE sip:chat-000@example.org SIP/2.0",
    without: str = "",
    body: bytes = b"Hello",
    **fields: str | list[str],
) -> bytes:
    """The plain MESSAGE with headers removed, replaced (a list gives several), or added.

    Header names are written as ``call_id="..."``. A header that the plain MESSAGE does not have is added at
    the end.
    """
    wanted = {name.replace("_", "-").lower(): value for name, value in fields.items()}
    lines = [line]
    for name, plain in FIELDS:
        if name == without:
            continue
        value = wanted.pop(name.lower(), plain)
        lines += [f"{name}: {one}" for one in ([value] if isinstance(value, str) else value)]
    for name, value in wanted.items():
        lines += [f"{name}: {one}" for one in ([value] if isinstance(value, str) else value)]
    return "\r\n".join(lines).encode(errors="surrogateescape") + b"\r\n\r\n" + body
