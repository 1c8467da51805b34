"""Content-Type, Content-Encoding and bodies (RFC 3261 §20.11 to §20.15, RFC 3428 §4)."""

from __future__ import annotations

import zlib

from tests.conformance.traits.trait import Trait, message

TYPES = (
    "text/plain", "TEXT/PLAIN", "Text/Plain", "text / plain", "text/plain;charset=utf-8",
    "text/plain; charset=utf-8", "text/plain ; charset = UTF-8", 'text/plain; charset="utf-8"',
    "text/plain;charset=us-ascii", "text/plain;charset=iso-8859-1", "text/plain;charset=UTF-8;format=flowed",
    "text/plain; charset=UTF-8;msgr=WAAtAE0ATQBTAC0ASQBNAC0ARgBvAHIAbQBhAHQA", "text/html",
    "text/html;charset=utf-8", "text/markdown", "text/x-msmsgsinvite", "message/cpim", "message/imdn+xml",
    "application/im-iscomposing+xml", "multipart/mixed;boundary=b", 'multipart/mixed; boundary="b c"',
    "multipart/alternative;boundary=b", 'multipart/related;boundary=b;type="text/html"',
)  # fmt: skip
REFUSED_TYPES = (
    "application/vnd.3gpp.sms", "Application/MANSCDP+xml", "application/sdp", "application/json", "image/png",
    "application/octet-stream", "application/pidf+xml", "application/dtmf-relay", "message/sipfrag",
)  # fmt: skip
MALFORMED_TYPES = ("text", "text/", "/plain", "text/plain charset=utf-8", "text/plain;charset=")
BODIES = {
    "has CRLF line ends": b"one\r\ntwo\r\n",
    "has LF line ends": b"one\ntwo\n",
    "is UTF-8": "Grüße 👋".encode(),
    "is 8,192 bytes long": b"x" * 8192,
    "has a NUL": b"a\x00b",
    "has bytes that are no UTF-8": b"caf\xe9",
    "looks like headers": b"Via: SIP/2.0/UDP 1.2.3.4\r\n\r\nMESSAGE sip:x SIP/2.0\r\n\r\n",
}
COMMANDS = {
    "in lower case": b"#list",
    "in upper case": b"#LIST",
    "with a line end": b"#list\r\n",
    "with a second line": b"#list\r\nof this room",
    "with spaces after it": b"#list   ",
}
INDENTED = {
    "a space": b" #list",
    "spaces and a tab": b"  \t#list",
    "a byte order mark": b"\xef\xbb\xbf#list",
    "CRLF": b"\r\n#list",
}
ESCAPED = {"##tag": b"#tag", "##list is a command": b"#list is a command"}
CPIM = (
    "From: <sip:{sender}>\r\nTo: <sip:room@example.org>\r\nDateTime: 2022-08-02T15:34:33Z\r\n"
    "NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: HjFsonRLpkim\r\n\r\n"
    "Content-Type: text/plain\r\n\r\n{text}"
)
PARTS = (
    "--b\r\nContent-Type: text/plain\r\n\r\n#list\r\n"
    "--b\r\nContent-Type: text/html\r\n\r\n<b>#list</b>\r\n--b--\r\n"
)
WRAPPED_COMMANDS = {
    "message/cpim": CPIM.format(sender="alice@example.org", text="#list"),
    "text/html": '<html><body><font face="Segoe UI">#list</font></body></html>',
    "multipart/mixed;boundary=b": PARTS,
    "multipart/alternative;boundary=b": PARTS,
}


IMDN = (
    b'<imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>34jk324j</message-id>'
    b"<datetime>2008-04-04T12:16:49-05:00</datetime>"
    b"<delivery-notification><status><delivered/></status></delivery-notification></imdn>"
)
TYPING = (
    b'<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>active</state>'
    b"<contenttype>text/plain</contenttype><refresh>90</refresh></isComposing>"
)
DOCUMENTS = {
    "message/cpim": CPIM.format(sender="alice@example.org", text="hello").encode(),
    "message/imdn+xml": IMDN,
    "application/im-iscomposing+xml": TYPING,
}
"""Bodies of types that have a form of their own."""
REQUESTS = {"message/imdn+xml": "disposition", "application/im-iscomposing+xml": "typing"}
"""Types that are no messages for the room, and the request that they become."""


def _deflated(kind: str, encoding: str, data: bytes, inflated: bytes) -> Trait:
    return Trait(
        f"a {kind} body has Content-Encoding {encoding}",
        message(data, Content_Type=kind, last=[f"Content-Encoding: {encoding}"]),
        body=inflated,
        content_type=kind,
        type=REQUESTS.get(kind, "message"),
    )


def _gzip(data: bytes) -> bytes:
    compress = zlib.compressobj(wbits=31)
    return compress.compress(data) + compress.flush()


CASES = [
    *(
        Trait(
            f"Content-Type is {value!r}",
            message(DOCUMENTS.get(value, b"hello"), Content_Type=value),
            content_type=value,
            type=REQUESTS.get(value, "message"),
        )
        for value in TYPES
    ),
    *(
        Trait(f"a {value} body is malformed", message(b"hello", Content_Type=value), status=400)
        for value in DOCUMENTS
    ),
    *(
        Trait(f"Content-Type is {value!r}", message(Content_Type=value), status=415)
        for value in REFUSED_TYPES
    ),
    *(
        Trait(f"Content-Type is {value!r}", message(Content_Type=value), status=400)
        for value in MALFORMED_TYPES
    ),
    Trait(
        "Content-Type ends with a semicolon",
        message(Content_Type="text/plain;"),
        content_type="text/plain",
    ),
    Trait(
        "a parameter of Content-Type has a slash and no quotes",
        message(Content_Type="multipart/related;boundary=b;type=text/html"),
        content_type='multipart/related;boundary=b;type="text/html"',
    ),
    Trait(
        "a body has no Content-Type",
        message(without=["Content-Type"]),
        body=b"hello",
    ),
    Trait("Content-Encoding is identity", message(last=["Content-Encoding: identity"])),
    Trait("Content-Encoding is unknown", message(last=["Content-Encoding: br"]), status=415),
    _deflated("message/imdn+xml", "deflate", zlib.compress(IMDN), IMDN),
    _deflated("text/plain", "gzip", _gzip(b"hello"), b"hello"),
    Trait(
        "a body is no deflate although Content-Encoding says so",
        message(b"hello", last=["Content-Encoding: deflate"]),
        status=400,
    ),
    Trait(
        "a few bytes stand for a megabyte",
        message(zlib.compress(bytes(1 << 20)), last=["Content-Encoding: deflate"]),
        status=413,
    ),
    *(Trait(f"the body {how}", message(data), body=data) for how, data in BODIES.items()),
    Trait("the body is 8,193 bytes long", message(b"x" * 8193), status=413),
    *(Trait(f"a command is {how}", message(data), type="list") for how, data in COMMANDS.items()),
    *(
        Trait(
            f"{how} comes before a command",
            message(data),
            type="list",
        )
        for how, data in INDENTED.items()
    ),
    *(
        Trait(
            f"{text} is a text that begins with a number sign",
            message(text.encode()),
            body=body,
        )
        for text, body in ESCAPED.items()
    ),
    *(
        Trait(
            f"a command is in {kind}",
            message(data.encode(), Content_Type=kind),
            type="list",
        )
        for kind, data in WRAPPED_COMMANDS.items()
    ),
    Trait(
        "message/cpim has the anonymous From of RCS",
        message(
            CPIM.format(sender="anonymous@anonymous.invalid", text="hello").encode(),
            Content_Type="message/cpim",
        ),
    ),
    Trait(
        "message/cpim has the From of somebody else",
        message(CPIM.format(sender="dave@example.org", text="hello").encode(), Content_Type="message/cpim"),
        status=403,
    ),
    Trait(
        "a command names a user with an apostrophe",
        message(b"#remove o'brien"),
        type="remove",
        user="o'brien@example.org",
    ),
]
