"""Which failed deliveries have a consequence; that edges and workers act on it is in test_deliver.py and
`tests/imc_worker/test_worker.py`."""

from __future__ import annotations

import pytest

from imc_common.rooms.delivery_reports import NOT_SENT, WITHDRAWN, consequence


@pytest.mark.parametrize("outcome", ["404", "408", "486", "no-target", "expired"])
def test_an_invitation_that_fails_is_withdrawn(outcome: str) -> None:
    """Whatever the reason: the user does not know of it."""
    assert consequence("invited", outcome) == "withdraw_invitation"


@pytest.mark.parametrize(
    "outcome", ["200", "403", "404", "408", "480", "503", "603", "surplus", "unsendable"]
)
def test_other_outcomes_have_no_consequence(outcome: str) -> None:
    """Without history, what a member misses is lost."""
    assert consequence("message", outcome) is None


@pytest.mark.parametrize(
    "outcome",
    [
        *("404", "408", "410", "430", "480", "500", "502", "503", "504", "604"),
        *map(str, range(473, 480)),  # of proxies that could not send
        *("no-target", "surplus", NOT_SENT),
    ],
)
def test_a_recipient_of_a_stored_message_is_away_when_nobody_is_there(outcome: str) -> None:
    """It gets the message from the history. A notice is in no history: it says nothing of what was missed."""
    assert consequence("message", outcome, history=True) == "mark_away"
    assert consequence("joined", outcome, history=True) is None


@pytest.mark.parametrize("history", [True, False])
@pytest.mark.parametrize("outcome", ["481", "488"])
def test_a_device_may_not_know_the_room_of_a_message(outcome: str, history: bool) -> None:
    """The worker knows whether it has shown the room."""
    for catch_up in ("", "part"):
        assert consequence("message", outcome, catch_up, history=history) == "settle_notify"


@pytest.mark.parametrize("outcome", ["200", "403", "415", "486", "606", "expired", "unsendable"])
def test_a_refusal_of_a_stored_message_does_not_mean_away(outcome: str) -> None:
    """The recipient is there and does not want this message: the next one is sent as usual."""
    assert consequence("message", outcome, history=True) is None


@pytest.mark.parametrize("outcome", ["200", "403", "404", "488"])
def test_an_invitation_that_finds_nobody_waits(outcome: str) -> None:
    """Where rooms keep messages, it is sent again. A refusal withdraws it."""
    expected = "mark_away" if outcome == "404" else "withdraw_invitation"
    assert consequence("invited", outcome, history=True) == expected


@pytest.mark.parametrize(("catch_up", "script"), [("more", "resume_catch_up"), ("probe", "welcome_back")])
@pytest.mark.parametrize("history", [True, False])
def test_what_does_not_find_the_member_away_leads_on(catch_up: str, script: str, history: bool) -> None:
    """A catch-up that has begun goes on when history is switched off; a refusal of one message is no end."""
    for outcome in ("200", "403", "488"):
        assert consequence("message", outcome, catch_up, history=history) == script
    assert consequence("message", "480", catch_up, history=True) == "mark_away"


@pytest.mark.parametrize("history", [True, False])
@pytest.mark.parametrize(
    ("outcome", "script"),
    [
        *((status, "admit_device") for status in ("200", "202")),
        *((status, "mark_away") for status in ("404", "408", "480", "503", "486", "600", "603", "no-target")),
        *((status, "admit_as_text") for status in ("403", "405", "415", "420", "488", "501", "606")),
    ],
)
def test_every_outcome_of_an_invite_decides_how_the_member_takes_part(
    outcome: str, script: str, history: bool
) -> None:
    """As a device, later, or with texts; also where rooms keep nothing."""
    assert consequence("invite", outcome, history=history) == script


def test_an_invite_of_an_earlier_stay_has_no_consequence() -> None:
    """Another one was sent, or nobody is to be invited."""
    assert consequence("invite", WITHDRAWN) is None


def test_a_roster_goes_on_after_every_notify() -> None:
    assert [consequence("notify", outcome) for outcome in ("200", "481", "408")] == ["settle_notify"] * 3


@pytest.mark.parametrize("history", [True, False])
def test_a_bye_that_finds_nobody_is_sent_again_later(history: bool) -> None:
    """The device would go on showing the room. If it has got it, its user may be a member again."""
    for catch_up in ("", "probe"):
        found = [consequence("bye", outcome, catch_up, history=history) for outcome in ("200", "481", "480")]
        assert found == ["readmit_device", "readmit_device", "keep_farewell"]
    assert consequence("bye", WITHDRAWN, history=history) == "keep_farewell"


@pytest.mark.parametrize("outcome", ["200", "403", "415", "488", "480", "408", "503"])
def test_any_response_of_its_own_to_an_idle_shows_that_a_user_is_there(outcome: str) -> None:
    """Whether its client knows typing notifications or not. Otherwise nothing follows: it stays away."""
    expected = "welcome_back" if outcome in {"200", "403", "415", "488"} else None
    assert consequence("idle", outcome, "probe", history=True) == expected


@pytest.mark.parametrize("event", ["bye", "you_were_dropped"])
@pytest.mark.parametrize("history", [True, False])
def test_what_a_user_must_learn_of_its_removal_is_kept(event: str, history: bool) -> None:
    """Until it is back. As a probe it can find that out."""
    assert consequence(event, "480", history=history) == "keep_farewell"
    assert consequence(event, "480", "probe", history=history) == "keep_farewell"
    is_bye = event == "bye"
    assert consequence(event, "200", history=history) == ("readmit_device" if is_bye else None)
    assert consequence(event, "200", "probe", history=history) == (
        "readmit_device" if is_bye else "welcome_back"
    )
