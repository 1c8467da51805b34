"""What real phones show after they were off: every message that was sent meanwhile, in order, once.

Kamailio is proxy and registrar as the migration page has it: it sends the edges a copy of each REGISTER,
responds 480 for who is not registered, and 408 for a phone that has vanished without unregistering.
"""

from __future__ import annotations

import itertools
import secrets
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.integration.peers.baresip import Baresip
from tests.integration.peers.conftest import MakeBaresip, MakeLinphone
from tests.integration.peers.linphone import Linphone
from tests.integration.peers.telephony import DOMAIN, Platform, platform
from tests.patience import PATIENCE
from tests.processes import wait_until

pytestmark = pytest.mark.integration

Phone = Linphone | Baresip
CATCH_UP_MAX = 12
NAMES = [f"{name}-{number}" for number in range(8) for name in ("bob", "carol", "dave")]
_names = iter(NAMES)


@pytest.fixture(scope="module")
def telephony(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform whose rooms keep messages."""
    settings = {"history_max_messages": "500", "catch_up_max": str(CATCH_UP_MAX)}
    with platform(tmp_path_factory.mktemp("platform"), "alice", *NAMES, **settings) as running:
        running.start_imc()
        running.start_proxy("after.cfg")
        running.wait_for_edges(2)
        yield running


class Talk:
    """A room in which alice writes, and members with each kind of phone, new users without old contacts."""

    def __init__(self, linphone: MakeLinphone, baresip: MakeBaresip) -> None:
        self.room = f"chat-{secrets.token_hex(4)}@{DOMAIN}"
        self.alice = linphone("alice")
        self.say("#create")
        bob, carol, dave = itertools.islice(_names, 3)
        self.linphones = (linphone(bob), linphone(carol, cpim=True, tcp=True))
        self.baresip = baresip(dave, self.room)
        self.phones: tuple[Phone, ...] = (*self.linphones, self.baresip)
        for phone in self.phones:
            self.send(phone, "#join")
            phone.assert_gets_eventually(r"\*\*\* You have joined .*")
        self._said: list[str] = []
        self.talk("before", 1)
        self.wait_until_read("before 0")

    def send(self, phone: Phone, text: str) -> None:
        """A phone sends a text to the room."""
        if isinstance(phone, Linphone):
            phone.say(f"sip:{self.room}", text)
        else:
            phone.message(text)

    def say(self, text: str) -> None:
        """alice sends a text; returns when it was accepted."""
        self.alice.say(f"sip:{self.room}", text)

    def talk(self, word: str, count: int) -> None:
        """alice says so many lines."""
        for number in range(count):
            self._said.append(f"{word} {number}")
            self.say(self._said[-1])

    def stop(self) -> None:
        """The phones unregister and end."""
        for phone in self.phones:
            phone.stop()

    def vanish(self) -> None:
        """The phones are killed: the registrar keeps their contacts."""
        for phone in self.phones:
            phone.vanish()

    def start(self) -> None:
        """The phones register."""
        for phone in self.phones:
            phone.start()

    def shown(self, phone: Phone) -> list[str]:
        """What a phone has shown since alice's first line, without her address."""
        texts = [text.removeprefix("<alice@example.org>: ") for text in phone.texts()]
        return texts[texts.index("before 0") :] if "before 0" in texts else []

    def wait_until_read(self, text: str) -> None:
        """Wait until the last thing that each phone shows is this."""
        for phone in self.phones:
            try:
                wait_until(lambda shown=phone: self.shown(shown)[-1:] == [text], text, PATIENCE)  # type: ignore[misc]
            except TimeoutError:
                pytest.fail(f"{phone.address} shows {self.shown(phone)} and not {text!r}")

    def assert_all_is_read(self) -> None:
        """Each phone has shown all of alice's lines, in order, once, and nothing else."""
        self.talk("the end", 1)
        self.wait_until_read("the end 0")
        for phone in self.phones:
            assert self.shown(phone) == self._said, phone.address


@pytest.fixture
def talk(linphone: MakeLinphone, baresip: MakeBaresip) -> Talk:
    """A room with everybody in it."""
    return Talk(linphone, baresip)


@pytest.mark.parametrize("leave", [Talk.stop, Talk.vanish], ids=["unregistered", "vanished"])
def test_phones_show_what_was_said_while_they_were_off(talk: Talk, leave: Callable[[Talk], None]) -> None:
    """And that is all; they are still members."""
    leave(talk)
    talk.talk("meanwhile", 10)
    talk.start()
    talk.assert_all_is_read()
    for phone in talk.phones:
        talk.send(phone, f"{phone.address} is back")
        talk.alice.assert_gets_eventually(f".*{phone.address} is back")


def test_notices_are_not_kept(talk: Talk) -> None:
    """That somebody was added while the phones were off is not shown."""
    talk.stop()
    talk.talk("meanwhile", 1)
    talk.say("#add erin")
    talk.alice.assert_gets_eventually(r".*erin@example.org.*")
    talk.talk("later", 1)
    talk.start()
    talk.assert_all_is_read()


def test_linphone_shows_the_time_at_which_a_message_was_sent(talk: Talk) -> None:
    """Not the time at which it arrived: Date is that of the first attempt."""
    talk.stop()
    started = time.time()
    talk.talk("meanwhile", 1)
    said = time.time()
    time.sleep(3)
    talk.start()
    talk.assert_all_is_read()
    for phone in talk.linphones:
        at = phone.times()[-2]
        assert int(started) <= at <= said, phone.address


def test_a_long_absence_is_cut_to_the_latest_messages(talk: Talk) -> None:
    """A notice says how many more there are."""
    talk.stop()
    talk.talk("meanwhile", CATCH_UP_MAX + 3)
    talk.start()
    last = f"meanwhile {CATCH_UP_MAX + 2}"
    talk.wait_until_read(last)
    for phone in talk.phones:
        before, *later = talk.shown(phone)
        assert before == "before 0"
        was_probed = later[0] == "meanwhile 0"  # by a probe, just when the phone was back
        notice, *rest = later[was_probed:]
        missed = (2, 3) if was_probed else (3,)
        assert notice.startswith(tuple(f"*** You have missed {n} earlier" for n in missed)), phone.address
        assert rest == [f"meanwhile {number}" for number in range(3, CATCH_UP_MAX + 3)], phone.address


def test_three_messages_within_a_second_to_phones_that_have_unregistered(talk: Talk) -> None:
    """They stay members and show all three when they are back; the Linphones were running all the time."""
    for phone in talk.linphones:
        phone.leave()
    talk.baresip.stop()
    talk.talk("meanwhile", 3)
    for phone in talk.linphones:
        phone.come_back()
    talk.baresip.start()
    talk.assert_all_is_read()


def test_phones_that_are_gone_for_four_seconds_lose_nothing(talk: Talk) -> None:
    """A message every 2 s. The registrar knows nothing, and the proxy holds the first for dead contacts."""
    talk.vanish()
    for number in range(2):
        talk.talk(f"gone {number}", 1)
        time.sleep(2)
    talk.start()
    for number in range(3):
        talk.talk(f"back {number}", 1)
        time.sleep(2)
    talk.assert_all_is_read()


def test_nothing_is_lost_when_edges_are_killed(telephony: Platform, talk: Talk) -> None:
    """One while the phones are off; one when they are just back. What it has not recorded comes again.

    On a slow machine these are several messages. Without the repeats, all came once and in order.
    """
    talk.stop()
    talk.talk("meanwhile", 3)
    first, second = telephony.edges.values()
    first.end(signal.SIGKILL)
    talk.talk("later", 3)
    first.start()
    telephony.wait_for_edges(2)
    talk.start()
    second.end(signal.SIGKILL)
    talk.talk("the end", 1)
    talk.wait_until_read("the end 0")
    second.start()
    telephony.wait_for_edges(2)
    expected = [
        "before 0",
        *(f"{word} {n}" for word in ("meanwhile", "later") for n in range(3)),
        "the end 0",
    ]
    for phone in talk.phones:
        assert list(dict.fromkeys(talk.shown(phone))) == expected, phone.address
