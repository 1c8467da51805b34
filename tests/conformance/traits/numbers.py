"""CSeq, Call-ID, Max-Forwards, Content-Length and the Request-Line (RFC 3261 §20)."""

from __future__ import annotations

from tests.conformance.traits.trait import Trait, message

CSEQS = {
    "is 0": "0 MESSAGE",
    "is 1": "1 MESSAGE",
    "is 102, as of Asterisk": "102 MESSAGE",
    "is 131871376, as of FreeSWITCH": "131871376 MESSAGE",
    "is the largest number": "2147483647 MESSAGE",
    "has leading zeros": "0009 MESSAGE",
    "has two spaces": "1  MESSAGE",
    "has a tab": "1\tMESSAGE",
}
BAD_CSEQS = {
    "is 2**31": "2147483648 MESSAGE",
    "is negative": "-1 MESSAGE",
    "has a plus sign": "+1 MESSAGE",
    "has no method": "1",
    "has the method in lower case": "1 message",
    "names another method": "1 INVITE",
}
CALL_IDS = {
    "is short": "8103",
    "has a host": "4_2103527761@10.10.20.32",
    "has an IPv6 address": "508868544@2001:db8::1:9e6d",
    "has the host 0:0:0:0:0:0:0:0": "9a4e2c1b7dd5ff54@0:0:0:0:0:0:0:0",
    "ends with dots": "0Wj5-Rzr8wT1Ro5PrwEa9A..",
    "is base64 with an equals sign": "ZmY1MGM0YjA=",
    "is a UUID": "3005f297-44ca-44e9-a4df-4a3c1b5ab6c6",
    "has every character of a word": "a-.!%*_+`'~()<>:\\\"/[]?{}@b",
    "is 200 characters long": "c" * 200,
}
MAX_FORWARDS = {
    "is absent": ("", 69),
    "is 1": ("1", 0),
    "has leading zeros": ("007", 6),
    "is 255": ("255", 254),
}
LENGTHS = {
    "is padded with spaces, as of PJSIP": "    5",
    "has leading zeros": "0005",
    "is shorter than the datagram": "3",
}
STARTS = {
    "CRLF comes before the Request-Line": b"\r\n",
    "a CRLF keep-alive comes before the Request-Line": b"\r\n\r\n",
}


def _max_forwards() -> list[Trait]:
    cases = []
    for how, (value, hops) in MAX_FORWARDS.items():
        data = message(Max_Forwards=value) if value else message(without=["Max-Forwards"])
        cases.append(Trait(f"Max-Forwards {how}", data, hops=hops))
    return [
        *cases,
        Trait("Max-Forwards is 0", message(Max_Forwards="0"), status=483),
        Trait("Max-Forwards is 256", message(Max_Forwards="256"), status=400),
        Trait("Max-Forwards is negative", message(Max_Forwards="-1"), status=400),
        Trait("Max-Forwards is a word", message(Max_Forwards="seventy"), status=400),
    ]


CASES = [
    *(Trait(f"CSeq {how}", message(CSeq=value)) for how, value in CSEQS.items()),
    *(Trait(f"CSeq {how}", message(CSeq=value), status=400) for how, value in BAD_CSEQS.items()),
    Trait("CSeq is absent", message(without=["CSeq"]), status=400),
    *(Trait(f"Call-ID {how}", message(Call_ID=value)) for how, value in CALL_IDS.items()),
    Trait("Call-ID is absent", message(without=["Call-ID"]), status=400),
    Trait("Call-ID has a space", message(Call_ID="a b"), status=400),
    *_max_forwards(),
    *(
        Trait(
            f"Content-Length {how}",
            message(length=value),
            body=b"hel" if value == "3" else b"hello",
            on_streams=value != "3",
        )
        for how, value in LENGTHS.items()
    ),
    Trait("Content-Length is absent in a datagram", message(length=None), body=b"hello", on_streams=False),
    Trait("Content-Length is longer than the datagram", message(length="6"), status=400, on_streams=False),
    Trait("Content-Length is negative", message(length="-5"), status=400),
    Trait("Content-Length has a plus sign", message(length="+5"), status=400),
    Trait("Content-Length comes twice", message(last=["Content-Length: 5"]), status=400),
    *(Trait(about, before + message()) for about, before in STARTS.items()),
    Trait(
        "the SIP version is in lower case",
        message(start="MESSAGE sip:room@example.org sip/2.0"),
    ),
    Trait("the SIP version is 3.0", message(start="MESSAGE sip:room@example.org SIP/3.0"), status=505),
    Trait(
        "the method is in lower case",
        message(start="message sip:room@example.org SIP/2.0", CSeq="1 message"),
        status=405,
    ),
    Trait(
        "two spaces are in the Request-Line",
        message(start="MESSAGE  sip:room@example.org SIP/2.0"),
        status=400,
    ),
    Trait(
        "a space follows the SIP version", message(start="MESSAGE sip:room@example.org SIP/2.0 "), status=400
    ),
]
