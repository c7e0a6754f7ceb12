"""Every backend of the rate limits decides the same, by a clock that the tests move."""

import random
import re
import uuid
from collections.abc import AsyncIterator
from fractions import Fraction
from typing import Any

import pytest

from ragents.deployment.rate_limiting import RateLimitConfig
from ragents.deployment.rate_limiting.memory import MemoryRateLimits
from ragents.deployment.rate_limiting.redis import SETTLE, TAKE, RedisRateLimits, Script, open_server
from ragents.deployment.rate_limiting.types import Demand, Lease, Limits, RateLimitBackend

SERVERS_CLOCK = "redis.call('TIME')"
START_US = 1_790_000_000_000_000


class Clock:
    def __init__(self) -> None:
        self.us = START_US

    def __call__(self) -> int:
        return self.us

    def advance(self, seconds: float) -> None:
        self.us += round(seconds * 1e6)


class OnClock(Script):
    """A script by the tests' clock, with keys that stay: by the server's own they would go too early."""

    def __init__(self, script: Script, clock: Clock) -> None:
        assert script.text.count(SERVERS_CLOCK) == 1
        self._text, self._clock = re.sub(r"'PEXPIRE', KEYS\[\d\],", "'ECHO',", script.text), clock

    @property
    def text(self) -> str:  # type: ignore[override]
        seconds, us = divmod(self._clock.us, 1_000_000)
        return self._text.replace(SERVERS_CLOCK, f"{{'{seconds}', '{us}'}}")

    sha = "0" * 40  # never there: each call sends the text


class Table:
    """One backend and its clock."""

    def __init__(self, backend: RateLimitBackend, clock: Clock, user: str) -> None:
        self.backend, self.clock, self.user = backend, clock, user

    async def take(self, limits: Limits, demand: Demand | None = None, lease: Lease | None = None) -> Any:
        return await self.backend.take(self.user, demand or Demand(), limits.buckets, lease=lease)

    async def settle(self, limits: Limits, change: Demand, lease: Lease | None = None) -> None:
        await self.backend.settle(self.user, change, limits.buckets, source="redis", lease=lease)

    async def admitted(self, limits: Limits, requests: int) -> int:
        return sum([(await self.take(limits)).allowed for _ in range(requests)])


@pytest.fixture(params=["memory", "redis"])
async def table(request: pytest.FixtureRequest) -> AsyncIterator[Table]:
    clock, user = Clock(), uuid.uuid4().hex
    if request.param == "memory":
        yield Table(MemoryRateLimits(clock=clock), clock, user)
        return
    config = RateLimitConfig.model_validate({"redis_url": request.getfixturevalue("redis_url")})
    async with open_server(config) as server:
        take, settle = OnClock(TAKE, clock), OnClock(SETTLE, clock)
        yield Table(RedisRateLimits(server, timeout_s=5, take=take, settle=settle), clock, user)


LIMITS = Limits(requests_per_minute=60, requests_per_hour=1000, burst_size=10)


async def test_the_request_after_the_burst_is_refused_and_told_when_to_come_back(table: Table) -> None:
    assert await table.admitted(LIMITS, 10) == 10
    refused = await table.take(LIMITS)
    assert (refused.allowed, refused.reason, refused.wait_s) == (False, "minute", 1.0)
    assert refused.remaining == {"minute": 0, "hour": 990}


async def test_to_the_microsecond_after_the_wait_it_is_admitted_and_not_before(table: Table) -> None:
    limits = Limits(requests_per_minute=7, requests_per_hour=1000, burst_size=1)
    assert (await table.take(limits)).allowed
    wait_s = (await table.take(limits)).wait_s
    table.clock.us += round(wait_s * 1e6) - 1
    assert not (await table.take(limits)).allowed
    table.clock.us += 1
    assert (await table.take(limits)).allowed


async def test_what_is_refused_takes_nothing_from_any_bucket(table: Table) -> None:
    limits = Limits(requests_per_minute=60, requests_per_hour=3, burst_size=10)
    assert await table.admitted(limits, 5) == 3
    refused = await table.take(limits)
    assert (refused.reason, refused.remaining) == ("hour", {"minute": 7, "hour": 0})
    assert refused.wait_s == 1200


@pytest.mark.parametrize(("rpm", "rph", "burst"), [(60, 1000, 10), (7, 100, 3), (600, 601, 1), (1, 1, 1), (90, 45, 50)])
async def test_admitted_is_the_formula_to_the_request(table: Table, rpm: int, rph: int, burst: int) -> None:
    limits = Limits(requests_per_minute=rpm, requests_per_hour=rph, burst_size=burst)
    randomness, admitted = random.Random(rpm), 0
    for _ in range(150):
        # Always one more asks, and the pauses are too short for the bucket to run over.
        while (decision := await table.take(limits)).allowed:
            admitted += 1
        seconds = Fraction(table.clock.us - START_US, 1_000_000)
        assert admitted == int(min(burst + seconds * rpm / 60, rph + seconds * rph / 3600))
        longest_s = (burst - 1) * 60 / rpm if burst > 1 else decision.wait_s
        table.clock.advance(min(randomness.expovariate(0.1), longest_s))


async def test_a_bucket_never_holds_more_than_its_capacity(table: Table) -> None:
    await table.admitted(LIMITS, 4)
    table.clock.advance(3600)
    assert await table.admitted(LIMITS, 20) == 10


async def test_a_clock_that_goes_back_gives_nothing_and_locks_nobody_out(table: Table) -> None:
    assert await table.admitted(LIMITS, 10) == 10
    table.clock.advance(-3600)
    assert (await table.take(LIMITS)).wait_s == 1.0
    table.clock.advance(-3600)
    assert not (await table.take(LIMITS)).allowed


async def test_users_do_not_share(table: Table) -> None:
    assert await table.admitted(LIMITS, 11) == 10
    table.user = uuid.uuid4().hex
    assert await table.admitted(LIMITS, 11) == 10


async def test_a_refund_lets_one_more_in(table: Table) -> None:
    assert await table.admitted(LIMITS, 11) == 10
    await table.settle(LIMITS, Demand(-1))
    assert await table.admitted(LIMITS, 2) == 1


async def test_a_refund_of_what_came_back_already_is_not_a_gift(table: Table) -> None:
    assert await table.admitted(LIMITS, 1) == 1
    table.clock.advance(60)
    await table.settle(LIMITS, Demand(-1))
    assert await table.admitted(LIMITS, 20) == 10


async def test_tokens_beyond_the_estimate_are_a_debt_that_is_waited_for(table: Table) -> None:
    limits = Limits(tokens_per_minute=6000)
    assert (await table.take(limits, Demand(1, 1000))).allowed
    await table.settle(limits, Demand(0, 8000))
    refused = await table.take(limits, Demand(1, 1000))
    assert (refused.reason, refused.wait_s, refused.remaining["tokens"]) == ("tokens", 40.0, 0)
    table.clock.advance(40)
    assert (await table.take(limits, Demand(1, 1000))).allowed


async def test_a_day_s_cost_refuses_also_who_reserves_nothing(table: Table) -> None:
    limits = Limits(cost_usd_per_day=1.0)
    assert (await table.take(limits)).allowed
    await table.settle(limits, Demand(0, 0, 1_500_000))
    refused = await table.take(limits)
    assert (refused.allowed, refused.reason) == (False, "cost")
    assert refused.wait_s == pytest.approx(43_200, abs=1)
    table.clock.advance(refused.wait_s + 0.001)  # more digits than a double has
    assert (await table.take(limits)).allowed


async def test_a_cost_too_great_for_exact_numbers_is_still_counted(table: Table) -> None:
    limits = Limits(cost_usd_per_day=1_000_000)
    await table.settle(limits, Demand(0, 0, 1_000_001 * 1_000_000))
    refused = await table.take(limits)
    assert (refused.reason, round(refused.wait_s, 3)) == ("cost", 0.086)


async def test_requests_at_the_same_time_are_limited_until_one_ends(table: Table) -> None:
    limits = Limits(concurrent_requests=2)
    leases = [Lease(uuid.uuid4().hex, 2, 60) for _ in range(3)]
    assert [(await table.take(limits, lease=lease)).allowed for lease in leases] == [True, True, False]
    refused = await table.take(limits, lease=leases[2])
    assert (refused.reason, refused.wait_s, refused.remaining["minute"]) == ("concurrency", 1.0, 8)
    await table.settle(limits, Demand(0), lease=leases[0])
    assert (await table.take(limits, lease=leases[2])).allowed


async def test_the_place_of_a_process_that_died_is_free_after_its_lease(table: Table) -> None:
    limits = Limits(concurrent_requests=1)
    assert (await table.take(limits, lease=Lease("dead", 1, 60))).allowed
    table.clock.advance(59.5)
    assert (await table.take(limits, lease=Lease("next", 1, 60))).wait_s == 0.5
    table.clock.advance(0.5)
    assert (await table.take(limits, lease=Lease("next", 1, 60))).allowed


async def test_a_request_that_is_sent_again_keeps_its_place(table: Table) -> None:
    limits, lease = Limits(concurrent_requests=1), Lease("again", 1, 60)
    assert [(await table.take(limits, lease=lease)).allowed for _ in range(2)] == [True, True]
    assert not (await table.take(limits, lease=Lease("another", 1, 60))).allowed
    await table.settle(limits, Demand(0), lease=lease)
    assert (await table.take(limits, lease=Lease("another", 1, 60))).allowed


async def test_calls_without_a_limit_do_not_spoil_it_for_those_with_it(table: Table) -> None:
    """Two keys of one user, of which one has a limit of tokens."""
    with_tokens, without = Limits(tokens_per_minute=600), Limits()
    assert (await table.take(with_tokens, Demand(1, 600))).allowed
    for _ in range(6):
        table.clock.advance(10)
        assert (await table.take(without)).allowed
    assert (await table.take(with_tokens, Demand(1, 600))).allowed


@pytest.mark.parametrize("seed", range(8))
async def test_redis_and_memory_agree_on_any_history(seed: int, redis_url: str) -> None:
    clock, randomness, user = Clock(), random.Random(seed), uuid.uuid4().hex
    limits = Limits(
        requests_per_minute=randomness.randint(1, 100_000),
        requests_per_hour=randomness.randint(1, 2_000_000),
        burst_size=randomness.randint(1, 30),
        tokens_per_minute=randomness.choice([None, 1000, 100_000_000]),
        concurrent_requests=randomness.choice([None, 1, 3]),
    )
    memory = MemoryRateLimits(clock=clock, source="redis")
    config = RateLimitConfig.model_validate({"redis_url": redis_url})
    async with open_server(config) as server:
        redis = RedisRateLimits(server, timeout_s=5, take=OnClock(TAKE, clock), settle=OnClock(SETTLE, clock))
        for n in range(120):
            clock.us += int(randomness.choice([0, 1, 1e3, 1e6, 1e7]) * randomness.random())
            lease = limits.concurrent_requests and Lease(str(n % 5), limits.concurrent_requests, 3.0)
            if randomness.random() < 0.7:
                demand = Demand(1, randomness.randint(0, 900))
                decisions = [await each.take(user, demand, limits.buckets, lease=lease) for each in (memory, redis)]
                assert decisions[0] == decisions[1], f"step {n}"
            else:
                change = Demand(randomness.choice([0, -1]), randomness.randint(-900, 900))
                for each in (memory, redis):
                    await each.settle(user, change, limits.buckets, source="redis", lease=lease)
