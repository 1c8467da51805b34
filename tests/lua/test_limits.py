"""charge_budget, charge_invitation, send_limit_notice, and how accept_many counts the recipients of a
message."""

from __future__ import annotations

from typing import Any

from imc_common import keys
from tests.lua.shard import ALICE, BOB, CAROL, DAVE, IN, ROOM, SHARD, Shard, decoded

BUDGET = keys.budget(SHARD, "message", ALICE)
TOLD = keys.limit_notice(SHARD, "messages", ALICE)
HOUR = 3_600_000


def spend(shard: Shard, cost: int, per_hour: int = 3600, burst: int = 10, max_owed: int = 10) -> Any:
    """Milliseconds to wait."""
    return shard.run("charge_budget", [BUDGET], [cost, per_hour, burst, max_owed])


def let_pass(shard: Shard, seconds: float, budget: str = BUDGET) -> None:
    """Makes what was kept older."""
    at = int(shard.redis.hget(budget, "at"))  # type: ignore[arg-type]
    shard.redis.hset(budget, "at", int(at - seconds * 1000))


def test_a_budget_is_full_at_first_and_may_be_overdrawn(shard: Shard) -> None:
    """The time to wait is what the debt takes."""
    assert spend(shard, 10) == 0
    assert 0 < spend(shard, 3) <= 3000


def test_the_debt_is_bounded(shard: Shard) -> None:
    """However many messages were sent, nobody waits longer than that."""
    assert 1_000 < spend(shard, 1_000_000) <= 10_000
    assert 11_000 < spend(shard, 1_000_000, max_owed=20) <= 20_000


def test_time_fills_a_budget_up_to_its_burst(shard: Shard) -> None:
    """Not beyond it."""
    spend(shard, 15)
    let_pass(shard, 2)
    assert spend(shard, 1) > 0
    let_pass(shard, 1000)
    assert spend(shard, 10) == 0
    assert spend(shard, 1) > 0


def test_a_clock_that_was_set_back_reduces_no_budget(shard: Shard) -> None:
    """A budget from the future counts as one of now."""
    spend(shard, 4)
    let_pass(shard, -3600)
    assert spend(shard, 6) == 0
    assert spend(shard, 1) <= 1000


def test_a_full_budget_is_deleted(shard: Shard) -> None:
    """A user who was here once leaves nothing in Redis."""
    spend(shard, 10)
    assert 1_000 <= shard.redis.pttl(BUDGET) <= 11_000


def take(shard: Shard, target: str, digest: str, per_hour: int = 4, per_target: int = 2) -> Any:
    """Milliseconds to wait, and whether that is so for every target."""
    return take_all(shard, {target: 1}, digest, per_hour, per_target)


def take_all(
    shard: Shard, targets: dict[str, int], digest: str, per_hour: int = 4, per_target: int = 2
) -> Any:
    """The same for a list of users, with how many invitations of each there are."""
    who = (ALICE, *(f"{ALICE} {target}" for target in targets))
    budgets = [keys.budget(SHARD, "invitation", each) for each in who]
    return shard.run("charge_invitation", budgets, [digest, per_hour, per_target, *targets.values()])


def test_the_limit_of_invitations_to_one_user_is_separate(shard: Shard) -> None:
    """Refused invitations are not charged."""
    assert [take(shard, BOB, "1"), take(shard, BOB, "2")] == [[0, 0], [0, 0]]
    wait, is_for_all = take(shard, BOB, "3")
    assert HOUR / 4 < wait <= HOUR / 2
    assert not is_for_all
    assert [take(shard, CAROL, "5"), take(shard, DAVE, "6")] == [[0, 0], [0, 0]]
    wait, is_for_all = take(shard, "eve@example.org", "7")
    assert HOUR / 8 < wait <= HOUR / 4
    assert is_for_all


def test_a_retransmitted_invitation_is_not_charged_again(shard: Shard) -> None:
    assert [take(shard, BOB, "1")] * 5 == [[0, 0]] * 5
    take(shard, BOB, "1")
    assert take(shard, BOB, "2") == [0, 0]


def test_the_invitations_of_one_request_are_charged_together_or_not_at_all(shard: Shard) -> None:
    """A list that is longer than what is left of the hour costs nothing. So a shorter one is accepted."""
    take(shard, BOB, "1")
    four = {BOB: 1, CAROL: 1, DAVE: 2}
    for number in range(3):
        wait, is_for_all = take_all(shard, four, f"a{number}")
        assert HOUR / 8 < wait <= HOUR / 4
        assert is_for_all
    assert take_all(shard, {BOB: 1, CAROL: 1}, "b") == [0, 0]
    assert take_all(shard, {BOB: 1, CAROL: 1}, "b") == [0, 0], "a retransmission"
    wait, is_for_all = take_all(shard, {BOB: 1, DAVE: 1}, "c")
    assert (HOUR / 4 < wait <= HOUR / 2, is_for_all) == (True, 0), "bob has been invited twice"
    assert take(shard, DAVE, "d") == [0, 0]
    assert take(shard, "eve@example.org", "e")[1] == 1, "that were four"


def test_a_limit_of_0_is_no_limit(shard: Shard) -> None:
    """For each of the two limits."""
    for number in range(10):
        assert take(shard, BOB, str(number), per_hour=0, per_target=0) == [0, 0]
    assert not shard.redis.keys("*budget*")
    assert take(shard, BOB, "a", per_hour=0, per_target=1) == [0, 0]
    assert take(shard, BOB, "b", per_hour=0, per_target=1)[0] > 0


def tell(shard: Shard, max_backlog: int = 0) -> Any:
    """Milliseconds of silence, from now on or still."""
    return shard.run("send_limit_notice", [TOLD, IN], [60_000, max_backlog, "type", "refused", "from", ALICE])


def told(shard: Shard) -> list[dict[str, str]]:
    return [fields for _, fields in decoded(shard.redis.xrange(IN))]


def test_a_user_gets_one_limit_notice_per_window(shard: Shard) -> None:
    """Further requests do not prolong the window."""
    assert tell(shard) == 60_000
    shard.redis.pexpire(TOLD, 30_000)
    assert [0 < tell(shard) <= 30_000 for _ in range(5)] == [True] * 5
    assert told(shard) == [{"type": "refused", "from": ALICE}]
    shard.redis.delete(TOLD)  # as time does
    assert tell(shard) == 60_000
    assert len(told(shard)) == 2


def test_a_notice_that_does_not_fit_the_backlog_is_tried_again(shard: Shard) -> None:
    """At the next refusal."""
    shard.put("message", BOB)
    assert tell(shard, max_backlog=1) == "overloaded"
    assert tell(shard, max_backlog=2) == 60_000


def accept(
    shard: Shard, sender: str, *, kind: str = "message", digest: str = "d", prefix: bool = True
) -> Any:
    """The result for a request: alone, and three times in one script, a message also in its short form."""
    fields = ["type", kind, "from", sender, "room", ROOM, "data", ""]
    settings = [60_000, 0, shard.keys.members(SHARD, "") if prefix else ""]
    (one,) = shard.run("accept_many", keys.accepting(SHARD), [*settings, digest, len(fields), *fields])
    all_ = [part for number in "12" for part in (digest + number, len(fields), *fields)]
    all_ += [digest + "3", 0, sender, ROOM, ""] if kind == "message" else [digest + "3", len(fields), *fields]
    many = shard.run("accept_many", keys.accepting(SHARD), [*settings, *all_])
    assert many == [one, one, one]
    return one


def test_accept_gives_the_number_of_recipients_of_a_message(shard: Shard) -> None:
    """All in the room but the sender; none for a sender who may not speak, and no number for a command."""
    shard.ask("create", ALICE)
    for user in (BOB, CAROL):
        shard.ask("add", ALICE, user=user)
    shard.ask("invite", ALICE, user=DAVE)
    assert accept(shard, ALICE, digest="a") == 3
    assert accept(shard, "eve@example.org", digest="b") == 0
    assert accept(shard, DAVE, digest="e") == 0
    assert accept(shard, ALICE, kind="list", digest="c") == "accepted"
    assert accept(shard, ALICE, digest="d", prefix=False) == "accepted"


def test_a_room_of_a_wrong_type_does_not_stop_other_requests(shard: Shard) -> None:
    """Its worker reports the error; the other requests in the same script are accepted."""
    shard.redis.set(shard.keys.members(SHARD, ROOM), "planted")
    assert accept(shard, ALICE) == 0
    assert shard.redis.xlen(IN) == 4
