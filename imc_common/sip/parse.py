"""Parses one complete message (RFC 3261 §7 and §18.3)."""

from __future__ import annotations

from imc_common.sip.errors import SipParseError
from imc_common.sip.head import MANDATORY, Head, parse_head
from imc_common.sip.limits import DEFAULT, Limits
from imc_common.sip.message import Request, Response
from imc_common.sip.start_line import RequestLine


def parse_message(data: bytes, *, stream: bool = False, limits: Limits = DEFAULT) -> Request | Response:
    """The message in ``data``: a datagram, or with ``stream`` one message from a stream.

    Checks only syntax and sizes; call ``validate_request`` next. Empty lines before the message are skipped
    (RFC 3261 §7.5). Without Content-Length the body ends with the datagram; bytes beyond Content-Length are
    discarded (RFC 3261 §18.3). On a stream Content-Length is mandatory.

    Raises SipParseError. Send a response if it has a ``request``.
    """
    begin = 0
    while data.startswith(b"\r\n", begin):
        begin += 2
    end = data.find(b"\r\n\r\n", begin)
    if end < 0:
        head = parse_head(data[begin:].removesuffix(b"\r\n"), limits)
        head.fail(400, "Missing Empty Line After Headers", fatal=True)
        return finish(head, b"", len(data))
    head = parse_head(data[begin:end], limits)
    if len(data) - begin > limits.message:
        head.fail(513, "Message Too Large")
    body = data[end + 4 :]
    length = head.content_length
    if length is not None:
        if len(body) < length:
            head.fail(400, "Body Shorter Than Content-Length")
        body = body[:length]
    elif stream:
        head.fail(400, "Missing Content-Length header", fatal=True)
    if len(body) > limits.body:
        head.fail(413, "Request Entity Too Large")
    return finish(head, body, len(data))


def finish(head: Head, body: bytes, size: int = 0) -> Request | Response:
    """The message with this head and body; ``size`` as in `Request`.

    Raises SipParseError if the head has a fault.
    """
    start, fault = head.start, head.fault
    if isinstance(start, RequestLine):
        request = Request(
            start.method, start.uri, version=start.version, size=size, headers=head.headers, body=body
        )
        if fault is None:
            return request
        can_respond = request.method != "ACK" and "Via" in request.headers
        if head.is_cut:  # what is missing may be in the part that was not read
            can_respond = can_respond and all(name in request.headers for name in MANDATORY)
        answerable = request if can_respond else None
        raise SipParseError(*fault, answerable, fatal=head.fatal)
    if start is None:
        raise SipParseError(400, "Malformed Start Line", fatal=True)
    if fault is not None:
        raise SipParseError(*fault, fatal=head.fatal)
    return Response(start.status, start.reason, headers=head.headers, body=body)
