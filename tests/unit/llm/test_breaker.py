"""A breaker opens after failures in a row, waits, tries once, and decides by that."""

from ragents.llm.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def broken(clock: Clock) -> Breaker:
    breaker = Breaker(failures=3, reset_s=10, now=clock)
    for _ in range(3):
        breaker.begin()
        breaker.failed()
    return breaker


def test_failures_with_a_success_between_them_do_not_open_it() -> None:
    breaker = Breaker(failures=2, reset_s=10)
    for end in (breaker.failed, breaker.succeeded, breaker.failed):
        breaker.begin()
        end()
    assert breaker.lets_through


def test_it_opens_and_lets_one_call_try_after_its_time() -> None:
    clock = Clock()
    breaker = broken(clock)
    assert not breaker.lets_through
    assert breaker.retry_after_s == 10
    clock.seconds = 10
    assert breaker.lets_through
    breaker.begin()
    assert not breaker.lets_through, "one at a time"


def test_the_one_call_decides() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.seconds = 10
    breaker.begin()
    breaker.failed()
    assert not breaker.lets_through
    clock.seconds = 20
    breaker.begin()
    breaker.succeeded()
    assert breaker.lets_through


def test_a_caller_that_goes_away_decides_nothing() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.seconds = 10
    breaker.begin()
    breaker.abandoned()
    assert breaker.lets_through
