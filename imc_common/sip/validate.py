"""Checks of every request before it is processed (RFC 3261 §8.1.1, §8.2 and §16.3)."""

from __future__ import annotations

from imc_common.sip.errors import SipError
from imc_common.sip.header_names import SINGLE
from imc_common.sip.limits import DEFAULT, Limits
from imc_common.sip.message import Request, Response
from imc_common.sip.name_addr import NameAddr
from imc_common.sip.tokens import split_commas

_MANDATORY = ("Via", "From", "To", "Call-ID", "CSeq")
_MANDATORY_SET = frozenset(_MANDATORY)


def validate_request(request: Request, *, limits: Limits = DEFAULT) -> None:
    """Raise SipError, with status and reason of the response, if the request cannot be processed.

    Method, Require and content are not checked here, because they depend on what the element supports.
    """
    if request.version != "SIP/2.0":
        raise SipError(505, "Version Not Supported")
    _check_presence(request)
    # These properties raise SipError.
    request.via  # noqa: B018
    _check_vias(request, limits)
    request.from_, request.to, request.call_id, request.max_forwards  # noqa: B018
    if "Expires" in request.headers.first:
        request.expires  # noqa: B018
    if request.cseq.method != request.method:
        raise SipError(400, "CSeq Method Does Not Match Request Method")
    target = request.target
    if not target.is_sip:
        raise SipError(416, "Unsupported URI Scheme")
    if target.headers:
        # RFC 3261 §19.1.1: no header component in a Request-URI; RFC 4475 §3.1.2.11 (escruri).
        raise SipError(400, "Header Component in Request-URI")
    if request.body and request.content_type is None:
        # RFC 3261 §20.15: Content-Type MUST be present if the body is not empty.
        raise SipError(400, "Missing Content-Type header")
    _check_contacts(request)


def validate_response(response: Response) -> None:
    """Raise SipError if the response cannot be matched to a request. The caller discards it."""
    _check_presence(response)
    response.via, response.from_, response.to, response.call_id, response.cseq  # noqa: B018


def _check_presence(message: Request | Response) -> None:
    headers = message.headers
    if not headers.first.keys() >= _MANDATORY_SET:
        missing = [name for name in _MANDATORY if name not in headers]
        raise SipError(400, f"Missing {missing[0]} header")
    for name in headers.repeated:
        if name in SINGLE:
            raise SipError(400, f"Repeated {name} header")


def _check_vias(request: Request, limits: Limits) -> None:
    count = 1 + request.headers.repeated.count("Via")
    if count > 1 or "," in request.headers.first["Via"]:
        count += sum([line.count(",") for line in request.headers.get_all("Via")])
    if count > limits.vias:
        raise SipError(513, "Too Many Via Values")


def _check_contacts(request: Request) -> None:
    """Contact has no meaning in a MESSAGE, but a malformed one is refused (RFC 4475 regbadct)."""
    for line in request.headers.get_all("Contact"):
        if line == "*":
            continue
        try:
            for value in split_commas(line):
                NameAddr.parse(value)
        except ValueError:
            raise SipError(400, "Malformed Contact header") from None
