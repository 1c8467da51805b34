"""The SIP codec (RFC 3261, RFC 3428): bytes in, values out, without sockets and clock."""

from imc_common.sip.cseq import CSeq
from imc_common.sip.errors import SipError, SipParseError
from imc_common.sip.headers import Headers
from imc_common.sip.limits import Limits
from imc_common.sip.message import Request, Response
from imc_common.sip.name_addr import NameAddr
from imc_common.sip.parse import parse_message
from imc_common.sip.response import build_response
from imc_common.sip.uri import Uri
from imc_common.sip.validate import validate_request, validate_response
from imc_common.sip.via import Via

__all__ = [
    "CSeq",
    "Headers",
    "Limits",
    "NameAddr",
    "Request",
    "Response",
    "SipError",
    "SipParseError",
    "Uri",
    "Via",
    "build_response",
    "parse_message",
    "validate_request",
    "validate_response",
]
