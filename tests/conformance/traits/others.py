"""Header fields that other stacks add, and that an edge ignores, reads or refuses (RFC 3261 §20)."""

from __future__ import annotations

from tests.conformance.traits.trait import Trait, message

IGNORED = """
Accept: text/plain, application/im-iscomposing+xml
Accept: */*;q=0.5
Accept:
Accept-Contact: *;+g.3gpp.smsip;require;explicit
Accept-Encoding: gzip;q=1.0, identity; q=0.5, *;q=0
Accept-Language: en-us,en;q=0.9
Alert-Info: <file://Bellcore-dr1/>
Allow: INVITE,ACK,BYE,CANCEL,OPTIONS,MESSAGE
Allow: INVITE, ACK, CANCEL, BYE, NOTIFY, REFER, MESSAGE
Allow-Events: presence, kpml, talk, as-feature-event
Authorization: Digest username="alice", realm="example.org", nonce="1", uri="sip:x", response="2"
Authorization: NoOneKnowsThisScheme opaque-data=here
Call-Info: <urn:x-cisco-remotecc:callinfo>; security= Unknown; gci= 3-14955303; isVoip; call-instance= 1
Contact: <sip:alice@192.0.2.1:5062>
Contact: "Alice" <sip:alice@192.0.2.1>;expires=600;q=0.7
Contact: <sip:alice@192.0.2.1>;+sip.instance="<urn:uuid:f81d4fae-7dec>";reg-id=1
Contact: sip:alice@192.0.2.1
Contact: sip:alice@192.0.2.1;expires=600
Contact: *
Contact: <sip:a@192.0.2.1>, <sip:b@192.0.2.2>
Contact: <sip:5b4bpl62@cannkildkuul.invalid;transport=ws;ob>
Contact: <tel:+4930123456>
Content-Disposition: render;handling=optional
Content-Language: de, en
Content-Transfer-Encoding: binary
Contribution-ID: d5e4121aeec2cc59546ebaef8966ef185a2f37f0
Conversation-ID: 6b79b8bc937e4985b1dffd062b687bd7
Date: Tue, 02 Aug 2022 15:34:33 GMT
Date: Tue, 2 Aug 2022 15:34:33 GMT
Date: Tue, 02 Aug 2022 15:34:33 EST
Date: yesterday
Diversion: <sip:team@example.org>;reason=unconditional;counter=1
Error-Info: <sip:announcement@example.org>
Expires: 3600
Geolocation: <cid:alice123@atlanta.example.com>;inserted-by="alice123"
History-Info: <sip:room@example.org?Reason=SIP%3Bcause%3D302>;index=1
In-Reply-To: 70710@saturn.bell-tel.com, 17320@saturn.bell-tel.com
MIME-Version: 1.0
Min-SE:  3600
ms-user-data: ms-publiccloud=true;ms-federation=true
Organization: Doubango Telecom
P-Access-Network-Info: 3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=31041000010000000
P-Asserted-Identity: <sip:eve@example.org>, <tel:+4930123456>
P-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.oma.cpm.msg
P-Called-Party-ID: <sip:room@example.org>
P-Charging-Vector: icid-value="0a.c9";icid-generated-at=10.201.150.161;orig-ioi="example.org"
P-Preferred-Identity: "Alice" <sip:alice@example.org>
P-Visited-Network-ID: "Visited network number 1"
Priority: non-urgent
Privacy: none
Proxy-Authorization: Digest username="alice", realm="example.org", nonce="1", uri="sip:x", response="2"
Proxy-Require: sec-agree
Reason: Q.850 ;cause=16 ;text="Terminated"
Record-Route: <sip:10.0.0.60;transport=ws;lr;nat=yes>
Record-Route: <sip:10.0.0.60;lr=on>, <sip:10.0.0.61;lr=on;ftag=1928>
Remote-Party-ID: <sip:alice@192.0.2.1;x-cisco-number=7099092>;party=calling;screen=yes;privacy=off
Reply-To: Bob <sip:bob@biloxi.com>
Request-Disposition: no-fork
Retry-After: 18000;duration=3600
Route: <sip:proxy.example.org;transport=tcp;lr>
Route: <sip:imc@as.example.org:5060;lr>, <sip:orig@10.201.150.22:6060;lr;m=8>
Route: <sip:[2001:db8:0:1::2]:5060;lr>
Security-Client: ipsec-3gpp; alg=hmac-sha-1-96; spi-c=1; spi-s=2; port-c=5062; port-s=5064
Server: SomeServer v2.4
Session-ID: 20d2394000105000a00070f09651a8bd;remote=00000000000000000000000000000000
Subject: Tech Support
Subject: Grüße
Subject: =?UTF-8?B?R3LDvMOfZQ==?=
Subject:
Supported: replaces, outbound, gruu, path, record-aware
Supported: timer,resource-priority,replaces
Supported:
Timestamp: 54.21 0.5
Unknown-Header: ;;,,;;,; "unbalanced
User-Agent: Asterisk PBX GIT-master-b0421fc87c
User-Agent: kamailio (5.6.3 (x86_64/linux))
User-Agent: Linphone-Desktop/5.2.4 (DESKTOP-4QK) windows/11 Qt/5.15.2 LinphoneSDK/5.3.41
User-Agent: UCCAPI/4.0.7577.314 OC/4.0.7577.314 (Microsoft Lync 2010)
User-Agent: Телефон
Warning: 307 isi.edu "Session parameter 'foo' not understood"
X-Asterisk-HangupCause: Normal Clearing
X-Grandstream-PBX: true
X-Serialnumber: 000413230F3A
"""
"""One field for each case."""
REFUSED = {
    "Require: 100rel": 420,
    "Require: sec-agree": 420,
    "Require: com.example.extension, timer": 420,
    "Expires: soon": 400,
    "Expires: -1": 400,
    "No colon here": 400,
    "Bad Name: value": 400,
    ": no name": 400,
}
MALFORMED_CONTACTS = ("<sip:>", "sip:alice@192.0.2.1?Subject=hi", "Alice (home) <sip:a@b>", "alice", "<>")
AUTOMATIC = ("auto-replied", "auto-generated", "auto-replied; owner-email=a@example.org")

CASES = [
    *(Trait(f"there is {line!r}", message(last=[line])) for line in IGNORED.strip().splitlines()),
    *(Trait(f"there is {line!r}", message(last=[line]), status=status) for line, status in REFUSED.items()),
    *(
        Trait(
            f"there is a malformed Contact {value!r}",
            message(last=[f"Contact: {value}"]),
        )
        for value in MALFORMED_CONTACTS
    ),
    *(
        Trait(f"Auto-Submitted is {value!r}", message(last=[f"Auto-Submitted: {value}"]), type="")
        for value in AUTOMATIC
    ),
    Trait("Auto-Submitted is 'no'", message(last=["Auto-Submitted: no"])),
    Trait("Require is empty", message(last=["Require:"])),
    Trait("there are 120 header fields", message(last=[f"X-{n}: {n}" for n in range(112)])),
    Trait("there are 129 header fields", message(last=[f"X-{n}: {n}" for n in range(121)]), status=513),
    Trait("a header field has 2,000 characters", message(last=["X: " + "x" * 1997])),
    Trait("a header field has 2,100 characters", message(last=["X: " + "x" * 2097]), status=513),
    Trait("a header has a control character", message(last=["X: a\x01b"]), status=400),
    Trait("a header has bytes that are no UTF-8", message(last=["X: caf\udce9"]), status=400),
    Trait("a line ends with LF alone", message(last=["X: a\nY: b"]), status=400),
]
