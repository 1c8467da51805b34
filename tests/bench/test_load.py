"""The load generator finds all kinds of faults. Covers bench/load.py, processes.py and bench/loadgen."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import load
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.tools import require

pytestmark = pytest.mark.integration

Deliveries = list[bytes]
OUTSTANDING = 8


class Chat:
    """A simple chat server: sends each message to the members that the names of the load imply."""

    name = "chat"

    def __init__(self, members: int, spoil: Callable[[Deliveries], Deliveries]) -> None:
        self.target, self.proxy = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self._members = members
        self._spoil = spoil
        self._calls = 0
        self._socket = socket.socket(type=socket.SOCK_DGRAM)

    def start(self) -> None:
        host, port = self.target.split(":")
        self._socket.bind((host, int(port)))
        self._socket.settimeout(0.1)
        self._running = True
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def stop(self) -> None:
        self._running = False
        self._thread.join()
        self._socket.close()

    def components(self) -> dict[str, list[int]]:
        return {}

    def _serve(self) -> None:
        host, port = self.proxy.split(":")
        while self._running:
            try:
                data, source = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            if data.startswith(b"SIP/2.0"):
                continue
            lines = data.split(b"\r\n")
            self._socket.sendto(b"\r\n".join([b"SIP/2.0 202 Accepted", *lines[1:6], b"", b""]), source)
            for delivery in self._spoil(self._deliveries(data)):
                self._socket.sendto(delivery, (host, int(port)))

    def _deliveries(self, data: bytes) -> Deliveries:
        sender = re.search(rb"From: <sip:(u-\d+-\d+-)(\d+)@", data)
        body = data.partition(b"\r\n\r\n")[2]
        if sender is None or body.startswith(b"#"):
            return []
        others = [number for number in range(self._members) if number != int(sender[2])]
        return [self._delivery(sender[1], sender[2], b"%d" % number, body) for number in others]

    def _delivery(self, prefix: bytes, sender: bytes, member: bytes, body: bytes) -> bytes:
        self._calls += 1
        uri = b"sip:" + prefix + member + b"@bench.example"
        text = b"<" + prefix + sender + b"@bench.example>: " + body
        return (
            b"MESSAGE %b SIP/2.0\r\nVia: SIP/2.0/UDP %b;branch=z9hG4bK%d\r\nFrom: <sip:room@x>;tag=1\r\n"
            b"To: <%b>\r\nCall-ID: %d\r\nCSeq: 1 MESSAGE\r\nContent-Length: %d\r\n\r\n%b"
        ) % (uri, self.target.encode(), self._calls, uri, self._calls, len(text), text)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled load generator."""
    require("gcc")
    return load.build(tmp_path_factory.mktemp("loadgen"))


@pytest.fixture
def measure(program: Path) -> Iterator[Callable[..., load.Measured]]:
    """Run a short load of forty messages a second against a chat that changes its deliveries."""
    chats = []

    def run(spoil: Callable[[Deliveries], Deliveries], grace: float = 0.5) -> load.Measured:
        chat = Chat(4, spoil)
        chats.append(chat)
        chat.start()
        group = load.Group(rooms=2, members=4, outstanding=OUTSTANDING, rate=40)
        return load.run(program, chat, [group], seconds=1, warmup=0.1, setup=True, grace=grace)

    yield run
    for chat in chats:
        chat.stop()


def test_a_correct_system_has_no_faults(measure: Callable[..., load.Measured]) -> None:
    """Every message is delivered to three members; latencies are measured."""
    measured = measure(lambda deliveries: deliveries, PATIENCE)
    assert measured.faults == {}
    assert measured.messages > 0
    assert measured.deliveries == pytest.approx(measured.messages * 3, abs=3 * OUTSTANDING)
    assert measured.groups[0]["delivered_latency"]["count"] > 0


def test_what_an_earlier_run_has_sent_is_no_fault(measure: Callable[..., load.Measured]) -> None:
    """It comes from the history of a room. What belongs to no run is a notice."""

    def with_others(deliveries: Deliveries) -> Deliveries:
        earlier = [re.sub(rb"imcbench \w+ ", b"imcbench 0 ", one) for one in deliveries[:1]]
        return [*deliveries, *earlier, *(one.replace(b"imcbench", b"a notice") for one in earlier)]

    measured = measure(with_others, PATIENCE)
    assert measured.faults == {}
    seen = measured.groups[0]
    assert seen["notices"] == seen["earlier"] >= seen["earlier_in_window"] > 0


def test_a_missing_delivery_counts_as_lost(measure: Callable[..., load.Measured]) -> None:
    """Of three members, one does not get it."""
    faults = measure(lambda deliveries: deliveries[1:]).faults
    assert set(faults) == {"lost"}


def test_the_same_text_with_another_call_id_counts_as_doubled(measure: Callable[..., load.Measured]) -> None:
    """A second copy with the same Call-ID is a retransmission."""
    again = measure(lambda deliveries: [*deliveries, *deliveries], PATIENCE)
    assert again.faults == {}
    assert again.groups[0]["repeated"] > 0

    def doubled(deliveries: Deliveries) -> Deliveries:
        return deliveries + [one.replace(b"Call-ID: ", b"Call-ID: again-") for one in deliveries]

    assert set(measure(doubled, PATIENCE).faults) == {"doubled"}


@pytest.mark.parametrize(
    ("what", "becomes"),
    [(rb"imcbench (.*).$", rb"imcbench \1~"), (rb"sip:u-0-[01]-", rb"sip:u-0-9-"), (rb"<u-0", rb"<v-0")],
)
def test_a_wrong_body_recipient_or_sender_counts_as_wrong(
    measure: Callable[..., load.Measured], what: bytes, becomes: bytes
) -> None:
    """The whole body, the recipient and the sender are checked."""
    faults = measure(lambda deliveries: [re.sub(what, becomes, one) for one in deliveries]).faults
    assert faults["wrong"] > 0


def test_a_message_that_overtakes_an_older_one_counts_as_reordered(
    measure: Callable[..., load.Measured],
) -> None:
    """Its deliveries arrive before those of a message that had its 202 before."""
    kept: list[Deliveries] = []

    def late(deliveries: Deliveries) -> Deliveries:
        if not deliveries:
            return []
        kept.append(deliveries)
        if len(kept) < 8:
            return []
        held = [delivery for batch in reversed(kept) for delivery in batch]
        kept.clear()
        return held

    assert measure(late).faults["reordered"] > 0
