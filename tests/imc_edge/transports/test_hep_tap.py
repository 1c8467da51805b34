"""Copies to Homer of everything that comes in and goes out, with the right addresses."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from imc_common.metrics import Metrics
from imc_common.settings import Settings
from imc_common.sip.errors import SipParseError
from imc_common.sip.message import Request, Response
from imc_common.sip.parse import parse_message
from imc_edge.flow import Flow, Hop, SocketAddress, TransportUser
from imc_edge.transports import hep_tap
from imc_edge.transports.hep_tap import HepError, HepTap, TappedReceiver, TappedTransports
from tests.hep import decode
from tests.imc_edge.doubles import FakeFlow
from tests.imc_edge.sockets import Errors
from tests.patience import PATIENCE

REQUEST = (
    b"MESSAGE sip:r@h SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKb1\r\nMax-Forwards: 70\r\n"
    b"From: <sip:a@h>;tag=1\r\nTo: <sip:r@h>\r\nCall-ID: c1@h\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
)
RESPONSE = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKb1\r\ni: c1@h\r\n\r\n"
OURS = ("192.0.2.100", 5060)
HOP = Hop("udp", "192.0.2.9", 5070)


class Above:
    """Keeps what is passed on; responds to every request."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def receive(self, data: bytes, flow: Flow) -> None:
        self.got.append(data)
        assert flow.transport
        flow.send(b"SIP/2.0 202 Accepted\r\nCall-ID: c1@h\r\n\r\n", ("192.0.2.9", 5099))

    def response(self, data: bytes) -> None:
        self.got.append(data)

    def take(self, message: Request | Response, flow: Flow) -> None:
        self.got.append(message)
        assert flow.peer

    def refuse(self, error: SipParseError, flow: Flow) -> None:
        self.got.append(error)
        flow.send(b"SIP/2.0 400 Bad\r\n\r\n")


class Below:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, _hop: Hop, data: bytes, _user: TransportUser) -> None:
        self.sent.append(data)

    def via(self, hop: Hop) -> str:
        return f"SIP/2.0/UDP {hop.host}"


class Homer:
    """A capture server."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(PATIENCE)
        self.metrics = Metrics()
        settings = Settings(hep_address=f"127.0.0.1:{self.socket.getsockname()[1]}", hep_auth_key="k")
        self.tap = HepTap(settings, self._local, lambda: 1.7e9, self.metrics)

    def got(self) -> tuple[SocketAddress, SocketAddress, bytes]:
        """Source, target and first line of the next packet."""
        chunks = decode(self.socket.recv(65536))
        assert chunks["key"] == b"k"
        source = (chunks["source"], chunks["source_port"])
        return source, (chunks["target"], chunks["target_port"]), chunks["payload"].split(b"\r\n")[0]

    @staticmethod
    def _local(_hop: Hop) -> SocketAddress:
        return OURS


@pytest.fixture
def homer() -> Iterator[Homer]:
    """A capture server with a tap on it."""
    made = Homer()
    yield made
    made.tap.close()
    made.socket.close()


def test_a_datagram_and_the_response_to_it_are_copied(homer: Homer) -> None:
    """From the peer to us, and from us to where the response went."""
    above, flow = Above(), FakeFlow("udp")
    TappedReceiver(above, homer.tap).receive(REQUEST, flow)
    assert above.got == [REQUEST]
    assert homer.got() == (flow.peer, OURS, b"MESSAGE sip:r@h SIP/2.0")
    assert homer.got() == (OURS, ("192.0.2.9", 5099), b"SIP/2.0 202 Accepted")


def test_a_request_and_its_response_are_copied(homer: Homer) -> None:
    """The response's source is where the request went; a stray one is not copied."""
    above, below = Above(), Below()
    receiver, transports = TappedReceiver(above, homer.tap), TappedTransports(below, homer.tap)
    receiver.response(RESPONSE)
    receiver.response(b"SIP/2.0 200 OK\r\n\r\n")
    transports.send(HOP, REQUEST, Errors())
    receiver.response(RESPONSE)
    assert below.sent == [REQUEST]
    assert above.got == [RESPONSE, b"SIP/2.0 200 OK\r\n\r\n", RESPONSE]
    assert homer.got() == (OURS, ("192.0.2.9", 5070), b"MESSAGE sip:r@h SIP/2.0")
    assert homer.got() == (("192.0.2.9", 5070), OURS, b"SIP/2.0 200 OK")
    assert transports.via(HOP) == "SIP/2.0/UDP 192.0.2.9"


def test_messages_on_connections_are_copied(homer: Homer) -> None:
    """Complete messages, and the response to a malformed one."""
    above, flow = Above(), FakeFlow("tcp")
    receiver = TappedReceiver(above, homer.tap)
    receiver.take(parse_message(REQUEST), flow)
    assert homer.got()[2] == b"MESSAGE sip:r@h SIP/2.0"
    receiver.refuse(SipParseError(400, "Bad", None), flow)
    assert homer.got()[2] == b"SIP/2.0 400 Bad"


def test_remembered_hops_are_bounded(homer: Homer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is dropped."""
    monkeypatch.setattr(hep_tap, "MAX_HOPS", 1)
    homer.tap.outgoing_request(REQUEST, HOP)
    homer.tap.outgoing_request(REQUEST.replace(b"z9hG4bKb1", b"z9hG4bKb2"), HOP)
    homer.tap.outgoing_request(b"MESSAGE sip:r@h SIP/2.0\r\n\r\n", HOP)
    homer.tap.incoming_response(RESPONSE)
    assert [homer.got()[2] for _ in range(3)] == [b"MESSAGE sip:r@h SIP/2.0"] * 3
    homer.socket.settimeout(0.05)
    with pytest.raises(TimeoutError):
        homer.got()


def test_a_message_that_cannot_be_copied_is_counted(homer: Homer) -> None:
    """And nothing else happens."""
    homer.tap.outgoing(b"x" * 70_000, "udp", ("192.0.2.9", 1))
    assert b"imc_hep_lost_total 1.0" in homer.metrics.page()


def test_an_address_that_cannot_be_resolved_is_an_error() -> None:
    """With the setting's value."""
    with pytest.raises(HepError, match="no-such-host"):
        HepTap(Settings(hep_address="no-such-host.invalid:9060"), Homer._local, lambda: 0.0, Metrics())
