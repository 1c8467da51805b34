"""CPIM messages and what can be in them: the examples of the RFCs, written out, and what clients send."""

from __future__ import annotations

from typing import Final


def lines(text: str) -> bytes:
    """Text with CRLF."""
    return text.strip("\n").replace("\n", "\r\n").encode()


RFC_3862_5_1: Final = lines(
    """
Content-type: Message/CPIM

From: MR SANDERS <im:piglet@100akerwood.com>
To: Depressed Donkey <im:eeyore@100akerwood.com>
DateTime: 2000-12-13T13:40:00-08:00
Subject: the weather will be fine today
Subject:;lang=fr beau temps prevu pour aujourd'hui
NS: MyFeatures <mid:MessageFeatures@id.foo.com>
Require: MyFeatures.VitalMessageOption
MyFeatures.VitalMessageOption: Confirmation-requested
MyFeatures.WackyMessageOption: Use-silly-font

Content-type: text/xml; charset=utf-8
Content-ID: <1234567890@foo.com>

<body>
Here is the text of my message.
</body>
"""
)
"""RFC 3862 §5.1: an example, with the block that names the type of the object itself."""

RFC_5438_7_1: Final = lines(
    """
From: Alice <im:alice@example.com>
To: Bob <im:bob@example.com>
NS: imdn <urn:ietf:params:imdn>
imdn.Message-ID: 34jk324j
DateTime: 2006-04-04T12:16:49-05:00
imdn.Disposition-Notification: positive-delivery, negative-delivery
Content-type: text/plain
Content-length: 12

Hello World
"""
)
"""RFC 5438 §7.1.1.3: a message that asks for notifications. Its MIME headers stand among those of CPIM."""

IMDN_DOCUMENT: Final = lines(
    """
<?xml version="1.0" encoding="UTF-8"?>
<imdn xmlns="urn:ietf:params:xml:ns:imdn">
     <message-id>34jk324j</message-id>
     <datetime>2008-04-04T12:16:49-05:00</datetime>
     <recipient-uri>im:bob@example.com</recipient-uri>
     <original-recipient-uri
       >im:bob@example.com</original-recipient-uri>
     <delivery-notification>
        <status>
         <delivered/>
        </status>
     </delivery-notification>
</imdn>
"""
)
"""RFC 5438 §7.2.1.1."""

RFC_5438_7_2: Final = (
    lines(
        """
From: Bob <im:bob@example.com>
To: Alice <im:alice@example.com>
NS: imdn <urn:ietf:params:imdn>
imdn.Message-ID: d834jied93rf

Content-type: message/imdn+xml
Content-Disposition: notification
"""
    )
    + b"\r\n\r\n"
    + IMDN_DOCUMENT
)
"""RFC 5438 §7.2.1.1: a delivery notification."""

RFC_5438_6: Final = lines(
    """
From: Alice <im:alice@example.com>
To: Bob <im:bob@example.com>
DateTime: 2006-04-04T12:16:49-05:00
NS: x <urn:ietf:params:imdn>
x.Message-ID: 34jk324j
x.Disposition-Notification: display
x.IMDN-Record-Route: <im:proxy@example.net>
Subject: 100\\u0025 \\"sure\\"\\\\

Content-Type: multipart/mixed;boundary=b
Content-Transfer-Encoding: 8bit

--b
Content-Type: text/plain; charset=utf-8

Grüße
--b
Content-Type: image/png
Content-Transfer-Encoding: base64

iVBORw0KGgo=
--b--
"""
)
"""Another prefix for the namespace (RFC 3862 §3.4), escapes (§2.3.2), and a multipart."""

RFC_3994_4: Final = lines(
    """
<?xml version="1.0" encoding="UTF-8"?>
<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
    <state>active</state>
    <contenttype>text/plain</contenttype>
    <refresh>90</refresh>
</isComposing>
"""
)
"""RFC 3994 §4."""

LINPHONE: Final = lines(
    """
From: <sip:alice@sip.test;gr=urn:uuid:b954428c-55ac-00b6-867a-fae2a919e912>
To: <sip:chatroom-649hu6ukeq@sip.test>
DateTime: 2026-11-29T01:35:56Z
NS: imdn <urn:ietf:params:imdn>
imdn.Message-ID: RSbxC2YjlvAF
imdn.Disposition-Notification: positive-delivery, negative-delivery, display

Content-Type: text/plain
Content-Length: 3

one
"""
)
"""As liblinphone 5.1.65 sends it."""

LINPHONE_TYPING: Final = lines(
    """
From: <sip:alice@sip.test;gr=urn:uuid:b954428c-55ac-00b6-867a-fae2a919e912>
To: <sip:chatroom-649hu6ukeq@sip.test>
DateTime: 2026-11-29T01:35:57Z

Content-Type: application/im-iscomposing+xml
Content-Length: 170

"""
) + (
    b'\r\n\r\n<?xml version="1.0" encoding="UTF-8" standalone="no" ?>'
    b'<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing">'
    b"<state>active</state><refresh>60</refresh></isComposing>"
)

_READ: Final = (
    '<?xml version="1.0" encoding="UTF-8" standalone="no" ?><imdn xmlns="urn:ietf:params:xml:ns:imdn">'
    "<message-id>{id}</message-id><datetime>2026-11-29T01:36:02Z</datetime>"
    "<display-notification><status><displayed/></status></display-notification></imdn>"
)
_BOUNDARY: Final = "---------------------------14737809831466499882746641449"
LINPHONE_RECEIPTS: Final = lines(
    f"""
From: <sip:alice@sip.test;gr=urn:uuid:b954428c-55ac-00b6-867a-fae2a919e912>
To: <sip:chatroom-649hu6ukeq@sip.test>
DateTime: 2026-11-29T01:36:23Z

Content-Disposition: notification
Content-Type: multipart/mixed;boundary={_BOUNDARY}
Content-Length: 808

--{_BOUNDARY}
Content-Type: message/imdn+xml
Content-Length: 256

{_READ.format(id="K1YTWFhxApxO")}
--{_BOUNDARY}
Content-Type: message/imdn+xml
Content-Length: 256

{_READ.format(id="DekJ3EmNlcNi")}
--{_BOUNDARY}--
"""
)
"""Two receipts in one message, as liblinphone sends them."""

CPIM: Final = (
    RFC_3862_5_1,
    RFC_5438_7_1,
    RFC_5438_7_2,
    RFC_5438_6,
    LINPHONE,
    LINPHONE_TYPING,
    LINPHONE_RECEIPTS,
)
XML: Final = (IMDN_DOCUMENT, RFC_3994_4)

LIME_TYPE: Final = (
    'multipart/encrypted;protocol="application/lime";boundary=---------------------------14737809831466499882'
)


def lime(sender: str, *devices: str, message_id: str = "Yt2~q8", content_type: str = LIME_TYPE) -> bytes:
    """An encrypted message as liblinphone 5 makes it, of a device for others; the content is no real one.

    Its parts are base64, and the last one says "deflate" of what was encrypted.
    """
    headers = f"From: <{sender}>\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: {message_id}\r\n"
    key = "application/lime\r\nContent-Id: {}\r\nContent-Description: Cipher key"
    parts = [
        ("message/cpim", f"{headers}\r\nContent-Type: text/plain\r\n\r\n"),
        ("message/sipfrag", f"From: <{sender}>"),
        *((key.format(device), "AQABBAAMxQ+kz1Q==" * 9) for device in devices),
        (
            "application/octet-stream\r\nContent-Encoding: deflate\r\nContent-Description: Encrypted message",
            "Zm9vYmFy" * 30,
        ),
    ]
    line = "--" + content_type.rpartition("boundary=")[2]
    body = "".join(f"{line}\r\nContent-Type: {kind}\r\n\r\n{content}\r\n" for kind, content in parts)
    return f"{body}{line}--\r\n".encode()
