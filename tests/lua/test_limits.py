"""spend, take_invitation, and the deliveries that broadcast_message counts."""

from __future__ import annotations

from typing import Any

from imc_common import keys
from tests.lua.shard import ALICE, BOB, CAROL, DAVE, SHARD, Shard, heard, refused

BUDGET = keys.budget(SHARD, "message", ALICE)
CAUSED = keys.caused(SHARD, ALICE)
HOUR = 3_600_000


def spend(shard: Shard, cost: int, per_hour: int = 3600, burst: int = 10) -> Any:
    """Milliseconds to wait, and whether to be told."""
    return shard.run("spend", [BUDGET], [cost, per_hour, burst])


def let_pass(shard: Shard, seconds: float, budget: str = BUDGET) -> None:
    """Makes what was kept older."""
    at = int(shard.redis.hget(budget, "at"))  # type: ignore[arg-type]
    shard.redis.hset(budget, "at", int(at - seconds * 1000))


def test_a_budget_is_full_at_first_and_may_be_overdrawn(shard: Shard) -> None:
    """So much at once; the wait is as long as what is owed takes, and told of once."""
    assert spend(shard, 10) == [0, 0]
    wait, tell = spend(shard, 3)
    assert 2500 < wait <= 3000
    assert tell == 1
    assert spend(shard, 1)[1] == 0


def test_what_is_owed_has_a_bound(shard: Shard) -> None:
    """A flood makes nobody wait for longer than a full budget takes."""
    wait, _ = spend(shard, 1_000_000)
    assert wait <= 10_000


def test_time_fills_a_budget_up_to_its_burst(shard: Shard) -> None:
    """And no further; a new excess is told of again once half of it was back."""
    spend(shard, 15)
    let_pass(shard, 4)
    assert spend(shard, 1)[1] == 0  # still the same trouble
    let_pass(shard, 1000)
    assert spend(shard, 10) == [0, 0]
    assert spend(shard, 1)[1] == 1


def test_a_clock_put_back_takes_nothing_away(shard: Shard) -> None:
    """What was kept in the future counts as now (failure case 19)."""
    spend(shard, 4)
    let_pass(shard, -3600)
    assert spend(shard, 6) == [0, 0]
    assert spend(shard, 1)[0] <= 1000


def test_a_budget_goes_when_it_is_full_again(shard: Shard) -> None:
    """Users that were there once leave nothing behind."""
    spend(shard, 10)
    assert 10_000 <= shard.redis.pttl(BUDGET) <= 11_000


def take(shard: Shard, target: str, digest: str, per_hour: int = 4, per_target: int = 2) -> Any:
    """Milliseconds to wait, and whether to be told."""
    budgets = [keys.budget(SHARD, "invitation", who) for who in (ALICE, f"{ALICE} {target}")]
    return shard.run("take_invitation", budgets, [digest, per_hour, per_target])


def test_invitations_to_one_target_run_out_before_those_to_others(shard: Shard) -> None:
    """Refused ones cost nothing; each wait is told of once."""
    assert [take(shard, BOB, "1"), take(shard, BOB, "2")] == [[0, 0], [0, 0]]
    wait, tell = take(shard, BOB, "3")
    assert HOUR / 2 - 5000 < wait <= HOUR / 2
    assert tell == 1
    assert take(shard, BOB, "4")[1] == 0
    assert [take(shard, CAROL, "5"), take(shard, DAVE, "6")] == [[0, 0], [0, 0]]
    wait, tell = take(shard, "eve@example.org", "7")
    assert HOUR / 4 - 5000 < wait <= HOUR / 4
    assert tell == 1


def test_a_repeated_invitation_is_not_counted_again(shard: Shard) -> None:
    """A retransmission is no second invitation."""
    assert [take(shard, BOB, "1")] * 5 == [[0, 0]] * 5
    take(shard, BOB, "1")
    assert take(shard, BOB, "2") == [0, 0]


def test_a_limit_of_0_is_none(shard: Shard) -> None:
    """Each of the two for itself."""
    for number in range(10):
        assert take(shard, BOB, str(number), per_hour=0, per_target=0) == [0, 0]
    assert not shard.redis.keys("*budget*")
    assert take(shard, BOB, "a", per_hour=0, per_target=1) == [0, 0]
    assert take(shard, BOB, "b", per_hour=0, per_target=1)[0] > 0


def full_room(shard: Shard, most: int) -> None:
    """Alice, Bob, Carol and Dave, and so many deliveries that one may cause."""
    shard.ask("create", ALICE)
    for user in (BOB, CAROL, DAVE):
        shard.ask("add", ALICE, user=user)
    shard.settings["max_caused"] = most


def test_deliveries_are_counted_not_messages(shard: Shard) -> None:
    """Failure case 46: what goes over the limit still goes out whole, then one refusal, then nothing."""
    full_room(shard, 5)
    assert [shard.ask("message", ALICE) for _ in range(2)] == [
        [heard("message", BOB, CAROL, DAVE, by=ALICE)]
    ] * 2
    assert 0 < shard.redis.pttl(CAUSED) <= 10_000
    assert shard.ask("message", ALICE) == refused(ALICE, "too_many_deliveries", "message")
    assert [shard.ask("message", ALICE) for _ in range(3)] == [[]] * 3
    assert 0 < shard.redis.pttl(CAUSED) <= 10_000
    assert shard.ask("message", BOB) == [heard("message", ALICE, CAROL, DAVE, by=BOB)]
    shard.redis.delete(CAUSED)
    assert shard.ask("message", ALICE) == [heard("message", BOB, CAROL, DAVE, by=ALICE)]


def test_without_a_limit_deliveries_are_not_counted(shard: Shard) -> None:
    """0 costs nothing; nor do operators have a limit."""
    full_room(shard, 0)
    shard.ask("message", ALICE)
    assert not shard.redis.exists(CAUSED)
    shard.settings["max_caused"] = 1
    for _ in range(3):
        assert shard.ask("message", "operator", operator="1")[0].event == "notice"


def test_rooms_that_are_too_small_are_not_counted(shard: Shard) -> None:
    """The limit of messages is enough for them."""
    full_room(shard, 1)
    shard.settings["small"] = 3
    for _ in range(5):
        assert shard.ask("message", ALICE) == [heard("message", BOB, CAROL, DAVE, by=ALICE)]
    assert not shard.redis.exists(CAUSED)


def test_strangers_are_refused_as_such(shard: Shard) -> None:
    """Whoever may not speak has caused nothing, and hears the usual reason."""
    full_room(shard, 1)
    for _ in range(3):
        assert shard.ask("message", "eve@example.org") == refused("eve@example.org", "not_member", "message")
