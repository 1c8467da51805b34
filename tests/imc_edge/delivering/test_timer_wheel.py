"""The timer wheel: no timer is early or more than two ticks late, and none is lost when the process stops."""

from __future__ import annotations

from imc_edge.delivering.timer_wheel import AT_ONCE, SLOTS, TICK, TimerWheel, ticks


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Alarm:
    """Notes when it rang; may set itself again."""

    def __init__(self, clock: Clock, wheel: TimerWheel | None = None, again: int = 0) -> None:
        self.clock, self.wheel, self.again = clock, wheel, again
        self.rang: list[float] = []

    def due(self) -> None:
        self.rang.append(self.clock.now)
        if self.wheel and self.again:
            self.wheel.add(self, self.again)


def turn(clock: Clock, wheel: TimerWheel, seconds: float, step: float = 0.01) -> None:
    """Let time pass in small steps."""
    for _ in range(round(seconds / step)):
        clock.now += step
        wheel.advance()


def test_fires_not_early_and_at_most_two_ticks_late() -> None:
    """A timer of 0.5 s, set at any moment within a tick, rings between 0.5 s and 0.5 s + two ticks."""
    for offset in (0.0, 0.01, 0.024, 0.049):
        clock = Clock()
        wheel = TimerWheel(clock)
        turn(clock, wheel, 1.0)
        clock.now += offset
        wheel.advance()
        alarm, set_at = Alarm(clock), clock.now
        wheel.add(alarm, ticks(0.5))
        turn(clock, wheel, 1.0)
        assert len(alarm.rang) == 1
        assert 0.5 - 1e-9 <= alarm.rang[0] - set_at <= 0.5 + 2 * TICK + 0.01


def test_longest_timer_fits() -> None:
    """Timer F (32 s) is well within the ring."""
    assert ticks(32) < SLOTS - 1
    clock = Clock()
    wheel = TimerWheel(clock)
    alarm = Alarm(clock)
    wheel.add(alarm, ticks(32))
    turn(clock, wheel, 31.9, 0.1)
    assert alarm.rang == []
    turn(clock, wheel, 0.4, 0.1)
    assert len(alarm.rang) == 1


def test_a_long_stop_runs_each_timer_once() -> None:
    """A process stopped for minutes runs what fell due once, and sets it again from now on."""
    clock = Clock()
    wheel = TimerWheel(clock)
    alarm = Alarm(clock, wheel, again=ticks(0.5))
    other = Alarm(clock)
    wheel.add(alarm, ticks(0.5))
    wheel.add(other, ticks(30))
    clock.now += 300
    wheel.advance()
    assert len(alarm.rang) == 1
    assert len(other.rang) == 1
    turn(clock, wheel, 1.2)
    assert len(alarm.rang) in (2, 3)


def test_a_clock_that_stands_still_turns_nothing() -> None:
    """Without time passing nothing is due."""
    clock = Clock()
    wheel = TimerWheel(clock)
    alarm = Alarm(clock)
    wheel.add(alarm, 0)
    wheel.advance()
    assert alarm.rang == []


def test_of_thousands_due_together_few_fire_in_one_go() -> None:
    """The caller lets other work have its turn in between; none is lost and none fires twice."""
    clock = Clock()
    wheel = TimerWheel(clock)
    alarms = [Alarm(clock) for _ in range(3 * AT_ONCE + 1)]
    for alarm in alarms:
        wheel.add(alarm, 0)
    clock.now += 0.2
    rounds = 1
    while wheel.advance():
        assert sum(len(alarm.rang) for alarm in alarms) == rounds * AT_ONCE
        rounds += 1
    assert rounds == 4
    assert all(len(alarm.rang) == 1 for alarm in alarms)
