"""Builds responses to a request (RFC 3261 §8.2.6)."""

from __future__ import annotations

from collections.abc import Sequence

from imc_common.sip.errors import SipError
from imc_common.sip.message import Request
from imc_common.sip.status import reason_of
from imc_common.sip.tokens import split_commas

_COPIED = ("From", "To", "Call-ID", "CSeq")


def build_response(
    request: Request,
    status: int,
    reason: str | None = None,
    to_tag: str | None = None,
    headers: Sequence[tuple[str, str]] = (),
    *,
    source: tuple[str, int] | None = None,
) -> bytes:
    """The response as bytes, without body and Contact.

    Via, From, To, Call-ID and CSeq are copied if the request has them, so a malformed request can get a
    response, too. ``to_tag`` is added to a To without a tag, except in a 100 (RFC 3261 §8.2.6.2). ``source``,
    the address the request came from, is added to the topmost Via as ``received`` and ``rport`` (RFC 3261
    §18.2.1, RFC 3581). ``headers`` are added last; their values must not contain CR or LF.
    """
    extra = "".join([f"{name}: {value}\r\n" for name, value in headers])
    if status == 100:
        to_tag = None
        if "Timestamp" in request.headers:
            extra = f"Timestamp: {request.headers.get('Timestamp')}\r\n{extra}"
    return finish_response(copied_headers(request, to_tag, source), status, reason, extra)


def copied_headers(
    request: Request,
    to_tag: str | None = None,
    source: tuple[str, int] | None = None,
    asks: bool | None = None,
) -> str:
    """The header lines that all responses to a request have in common; see `build_response`.

    ``asks``: what `asks_for_source` says of the topmost Via, if the caller knows already.
    """
    found = request.headers.first
    repeated = request.headers.repeated
    only_vias = repeated.count("Via") == len(repeated)
    if asks is None:
        asks = source is not None and asks_for_source(found.get("Via", ""))
    if asks and source is not None and only_vias:
        # the common case, built at once
        try:  # suppress() costs as much as the rest of this function
            via = f"{found['Via']};".replace(";rport;", f";rport={source[1]};")
            tag = "" if to_tag is None or _has_tag(request) else f";tag={to_tag}"
            return (
                f"Via: {via}received={source[0]}\r\n{request.further_vias}"
                f"From: {found['From']}\r\nTo: {found['To']}{tag}\r\n"
                f"Call-ID: {found['Call-ID']}\r\nCSeq: {found['CSeq']}\r\n"
            )
        except KeyError:  # one of them is missing
            pass
    vias = request.headers.get_all("Via")
    if source is not None and vias:
        vias[:1] = _mark_source(request, vias[0], source)
    lines = [f"Via: {via}\r\n" for via in vias]
    for name in _COPIED:
        value = found.get(name)
        if value is None:
            continue
        if name == "To" and to_tag is not None and not _has_tag(request):
            value = f"{value};tag={to_tag}"
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines)


def asks_for_source(via: str) -> bool:
    """Whether a Via plainly has ``rport`` and so asks for responses to the source (RFC 3581 §4).

    If False, the Via must be parsed to know.
    """
    return f"{via};".count(";rport;") == 1 and not (
        "received" in via or "maddr" in via or "," in via or '"' in via
    )


def finish_response(
    copied: str, status: int, reason: str | None = None, extra: str = "", *, multiple_of: int = 1
) -> bytes:
    """The response with these copied headers. ``extra`` are more header lines, each with its CRLF.

    Its length is padded to a multiple of ``multiple_of`` bytes with blanks after "Content-Length:", where
    RFC 3261 §25.1 allows any number (HCOLON).
    """
    if reason is None:
        reason = reason_of(status)
    head = f"SIP/2.0 {status} {reason}\r\n{copied}{extra}Content-Length: ".encode()
    return head + b" " * (-(len(head) + 5) % multiple_of) + b"0\r\n\r\n"


def _mark_source(request: Request, line: str, source: tuple[str, int]) -> list[str]:
    try:
        top = request.via
        marked = top.seen_from(*source)
        if marked is top:
            return [line]
        return [str(marked), *split_commas(line)[1:]]
    except (SipError, ValueError):
        return [line]


def _has_tag(request: Request) -> bool:
    """Whether To has a tag. True for a malformed To, which is copied unchanged."""
    try:
        return request.to_tag is not None
    except SipError:
        return True
