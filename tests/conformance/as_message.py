"""Turns a torture message into a MESSAGE and keeps its fault.

It works on bytes and knows only the names of four headers: a parser of ours could repair the very fault that
a case tests.
"""

from __future__ import annotations

import re

_START = re.compile(rb"\A[^ ]+")
_CSEQ = re.compile(rb"(?im)^(cseq[ \t]*:(?:[ \t]|\r\n[ \t])*[0-9]+(?:[ \t]|\r\n[ \t])+)([^ \r]+)")
_CALL_ID = re.compile(rb"(?im)^((?:call-id|i)[ \t]*:[ \t]*)([^\r]*)")
_BRANCH = re.compile(rb"(branch[ \t]*=(?:[ \t]|\r\n[ \t])*z9hG4bK)([^ ;,\r]+)")
_BLANK = rb"(?:[ \t]|\r\n[ \t])*"
_SENT_BY = re.compile(
    rb"(?im)^((?:via|v)[ \t]*:"
    + _BLANK
    + rb"SIP"
    + _BLANK
    + rb"/"
    + _BLANK
    + rb"[0-9.]+"
    + _BLANK
    + rb"/"
    + _BLANK
    + rb"[a-z]+(?:[ \t]|\r\n[ \t])+)(\[[^\]]*\]|[a-z0-9.\-]+)(:[0-9]+)?"
)
_TYPE = re.compile(rb"(?im)^((?:content-type|c)[ \t]*:[ \t]*)application/sdp")


def as_message(data: bytes, unique: str) -> bytes:
    """The same request as a MESSAGE; ``unique`` is put in front of its Call-ID and topmost branch.

    If CSeq named the request's method, it now names MESSAGE; otherwise it is kept. A type of application/sdp
    becomes text/plain, because the type is not what these cases test. Bodies keep their length.
    """
    head, gap, body = data.partition(b"\r\n\r\n")
    start = _START.match(head)
    assert start is not None
    method = start[0]
    head = _START.sub(b"MESSAGE", head)
    head = _CSEQ.sub(lambda match: match[1] + (b"MESSAGE" if match[2] == method else match[2]), head)
    head = _CALL_ID.sub(lambda match: match[1] + unique.encode() + b"." + match[2], head)
    head = _BRANCH.sub(lambda match: match[1] + unique.encode() + match[2], head, count=1)
    head = _TYPE.sub(lambda match: match[1] + b"text/plain", head)
    return head + gap + body


def with_sent_by(data: bytes, port: int) -> bytes:
    """The same with 127.0.0.1 and this port as the topmost Via's sent-by, for a test's socket."""
    return _SENT_BY.sub(lambda match: match[1] + b"127.0.0.1:%d" % port, data, count=1)
