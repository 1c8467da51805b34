"""Content-Encoding of a body (RFC 3261 §20.12): gzip (RFC 1952) and deflate (RFC 1950).

A few bytes can stand for a thousand times as many. So a body is inflated only up to a limit, and what is
longer is refused unread.
"""

from __future__ import annotations

import zlib
from typing import Final

from imc_common.bodies.errors import BodyError

ENCODINGS: Final = ("deflate", "gzip")
"""As in Accept-Encoding. RFC 3261 §20.2 with RFC 9110 §12.5.3: identity is accepted without being named."""
MAX_RATIO: Final = 64
"""How many times longer an inflated body may be than the one that came."""
FREE_SIZE: Final = 4096
"""Bytes that any body may be inflated to: a short text of equal letters has a high ratio, too."""

_GZIP: Final = zlib.MAX_WBITS | 16
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS


class UnknownEncodingError(BodyError):
    """A Content-Encoding that is not supported, or more than one."""


class TooLargeError(BodyError):
    """The body would be too large when inflated."""


def inflate(body: bytes, encodings: list[str], max_size: int) -> bytes:
    """The body without its encoding; at most `max_size` bytes. Raises `BodyError`."""
    applied = [encoding.lower() for encoding in encodings if encoding.lower() != "identity"]
    if not applied:
        return body
    if len(applied) > 1:
        raise UnknownEncodingError("More Than One Content-Encoding")
    if applied[0] in {"gzip", "x-gzip"}:
        return _inflate(body, _GZIP, max_size)
    if applied[0] != "deflate":
        raise UnknownEncodingError("Unsupported Content-Encoding")
    # RFC 9110 §8.4.1.2: some implementations send deflate without the wrapper of RFC 1950. That wrapper's
    # first two bytes are a multiple of 31, and its low bits are 8.
    has_wrapper = len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _inflate(body, _ZLIB if has_wrapper else _RAW, max_size)


def _inflate(body: bytes, window: int, max_size: int) -> bytes:
    limit = min(max_size, max(FREE_SIZE, MAX_RATIO * len(body)))
    stream = zlib.decompressobj(window)
    try:
        # one byte more than is allowed shows that there is more
        inflated = stream.decompress(body, limit + 1)
    except zlib.error:
        raise BodyError("Malformed Content-Encoding") from None
    if len(inflated) > limit:
        raise TooLargeError("Inflated Body Too Large")
    if not stream.eof or stream.unused_data:
        raise BodyError("Malformed Content-Encoding")
    return inflated
