"""Via: transports, parameters, IPv6, several values (RFC 3261 §20.42, RFC 3581, RFC 7118 and others)."""

from __future__ import annotations

from tests.conformance.traits.trait import Trait, message

BRANCH = "branch=z9hG4bK776asdhds"
TRANSPORTS = ("UDP", "TCP", "TLS", "SCTP", "TLS-SCTP", "WS", "WSS", "DTLS-UDP", "udp", "tcp")
FORMS = {
    "no port": f"SIP/2.0/UDP 192.0.2.1;{BRANCH}",
    "a domain name": f"SIP/2.0/UDP phone.example.org:5060;{BRANCH}",
    "a name without dots": f"SIP/2.0/UDP desktop;{BRANCH}",
    "a name with an underscore": f"SIP/2.0/UDP my_phone.example.org;{BRANCH}",
    "a container's id as a name": f"SIP/2.0/UDP 0242ac110002;{BRANCH}",
    "a host under .invalid": f"SIP/2.0/WSS df7jal23ls0d.invalid;{BRANCH};rport",
    "an IPv6 reference": f"SIP/2.0/UDP [2001:db8::9:1]:5060;{BRANCH}",
    "an IPv6 reference without a port": f"SIP/2.0/UDP [2001:db8::9:1];{BRANCH}",
    "a private address": f"SIP/2.0/UDP 10.0.0.7:5060;{BRANCH};rport",
    "spaces around the slashes": f"SIP / 2.0 / UDP 192.0.2.1;{BRANCH}",
    "spaces before the port": f"SIP/2.0/UDP 192.0.2.1 : 5060;{BRANCH}",
    "spaces around semicolons": f"SIP/2.0/UDP 192.0.2.1:5060 ; {BRANCH} ; rport",
    "spaces around the equals sign": "SIP/2.0/UDP 192.0.2.1:5060;branch = z9hG4bK776asdhds",
    "sip in lower case": f"sip/2.0/UDP 192.0.2.1:5060;{BRANCH}",
}
PARAMETERS = {
    "rport without a value": "rport",
    "an rport with an equals sign and a value": "rport=5062",
    "received": "received=192.0.2.77",
    "received with an IPv6 address": "received=2001:db8::9:255",
    "maddr and ttl": "maddr=192.0.2.1;ttl=16",
    "alias (RFC 5923)": "alias",
    "keep (RFC 6223)": "keep",
    "a bare i parameter of OpenSIPS": "i=3",
    "ms-received-port and ms-received-cid of Lync": "ms-received-port=4317;ms-received-cid=67F00",
    "branched of Lync": "branched=FALSE",
    "comp=sigcomp (RFC 3486)": "comp=sigcomp",
    "oc without a value (RFC 7339)": "oc",
    "a quoted value": 'x="a;b,c"',
    "an unknown parameter": "hidden",
}
BRANCHES = {
    "with a dot after the cookie": "z9hG4bK.oOWg7575x",
    "with tildes": "z9hG4bK.~Rk4nMZ3f",
    "with plus signs": "z9hG4bK+c4694dd03bc9+sip+2+a64fd585",
    "with three dashes": "z9hG4bK-524287-1---8b0e2f6a4e4ea7b7",
    "of the cookie alone": "z9hG4bK",
    "without the cookie": "390skdjuw",
    "of 200 characters": "z9hG4bK" + "a" * 193,
}


def _several() -> dict[str, bytes]:
    upper, lower = f"SIP/2.0/UDP 192.0.2.1:5062;{BRANCH}", "SIP/2.0/TCP 10.0.0.7:5060;branch=z9hG4bK1"
    return {
        "two Vias on one line": message(Via=f"{upper}, {lower}"),
        "two Vias on one line without a space": message(Via=f"{upper},{lower}"),
        "two Vias on two lines": message(Via=upper, last=[f"Via: {lower}"]),
        "a compact Via below a long one": message(Via=upper, last=[f"v: {lower}"]),
        "thirty Vias": message(
            Via=upper, last=[f"Via: SIP/2.0/UDP 10.0.0.{n}:5060;branch=z9hG4bK{n}" for n in range(29)]
        ),
        "a lower Via with a comma in a quoted string": message(Via=f'{upper}, {lower};x="a,b"'),
        "a lower Via that is malformed": message(Via=upper, last=["Via: what?"]),
        "a lower Via of SIP/1.0": message(Via=upper, last=["Via: SIP/1.0/UDP 10.0.0.7;branch=z9hG4bK1"]),
        "no branch, as in RFC 2543": message(Via="SIP/2.0/UDP 192.0.2.1:5062"),
    }


CASES = [
    *(
        Trait(f"the transport in Via is {name}", message(Via=f"SIP/2.0/{name} 192.0.2.1:5062;{BRANCH}"))
        for name in TRANSPORTS
    ),
    *(Trait(f"Via has {what}", message(Via=value)) for what, value in FORMS.items()),
    *(
        Trait(f"Via has {what}", message(Via=f"SIP/2.0/UDP 192.0.2.1:5062;{value};{BRANCH}"))
        for what, value in PARAMETERS.items()
    ),
    *(
        Trait(f"the branch is one {what}", message(Via=f"SIP/2.0/UDP 192.0.2.1:5062;branch={value}"))
        for what, value in BRANCHES.items()
    ),
    *(
        Trait(f"there are {what}" if "s " in what else f"there is {what}", data)
        for what, data in _several().items()
    ),
]
