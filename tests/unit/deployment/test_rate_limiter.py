"""RateLimiter as it is documented: one process, several processes, and a Redis that goes away."""

import asyncio
import multiprocessing
import re
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from ragents.deployment.rate_limiting import Priority, RateLimitConfig, RateLimiter, presence
from ragents.errors import ConfigError, DeadlineExceeded, InputError, Overloaded, RateLimited
from ragents.rag.types import Usage
from tests.redis_proxy import RedisProxy, open_redis_proxy
from tests.redis_server import RedisServer

FAST = {"requests_per_minute": 60_000, "requests_per_hour": 2_000_000}


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One that a test may stop."""
    directory = tmp_path_factory.mktemp("r")
    server = RedisServer(directory, appendonly="yes", appendfsync="always")
    server.start()
    yield server
    server.stop()


def config(url: str | None = None, **settings: Any) -> RateLimitConfig:
    return RateLimitConfig.model_validate({"redis_url": url, **settings})


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str | None:
    return str(request.getfixturevalue("redis_url")) if request.param == "redis" else None


@pytest.fixture
async def limiter(url: str | None) -> AsyncIterator[RateLimiter]:
    """With the documented defaults, but that a request comes back after ten seconds: a slow test sees none of it."""
    async with RateLimiter(config(url, requests_per_minute=6, redis_timeout_s=5)) as opened:
        yield opened


@pytest.fixture
def user() -> str:
    return uuid.uuid4().hex


async def burst(limiter: RateLimiter, user: str, requests: int = 20) -> int:
    return sum([(await limiter.check_rate_limit(user_id=user))[0] for _ in range(requests)])


# The published calls


async def test_the_eleventh_check_is_refused_with_the_time_to_wait(limiter: RateLimiter, user: str) -> None:
    assert [(await limiter.check_rate_limit(user_id=user)) for _ in range(10)] == [(True, 0.0)] * 10
    allowed, wait_s = await limiter.check_rate_limit(user_id=user)
    assert not allowed
    assert 0 < wait_s <= 10


async def test_with_redis_nothing_is_counted_until_it_is_opened_and_twice_opens_once(redis_url: str, user: str) -> None:
    limiter = RateLimiter(config(redis_url, redis_timeout_s=5))
    with pytest.raises(RuntimeError, match=r"await limiter.initialize\(\)"):
        await limiter.check_rate_limit(user)
    await limiter.initialize()
    async with limiter:
        assert await burst(limiter, user) == 10
    with pytest.raises(RuntimeError, match=r"await limiter.initialize\(\)"):
        await limiter.check_rate_limit(user)


@pytest.mark.parametrize("nobody", [None, ""])
async def test_who_has_no_name_is_asked_for_one(limiter: RateLimiter, nobody: Any) -> None:
    for call in (
        limiter.check_rate_limit(user_id=nobody),
        limiter.process_with_rate_limit(user_id=nobody, func=asyncio.sleep, delay=0),
        limiter.enqueue_request(nobody, {}),
    ):
        with pytest.raises(InputError, match="expected who asks"):
            await call


async def test_a_priority_may_be_written_small_and_what_is_none_is_named(limiter: RateLimiter, user: str) -> None:
    await limiter.enqueue_request(user, 1, "high")
    assert await limiter.dequeue_request(timeout=5) == (user, 1, Priority.HIGH)
    for call in (
        limiter.enqueue_request(user, 1, "urgent"),
        limiter.process_with_rate_limit(user, asyncio.sleep, 0, priority="urgent"),
    ):
        with pytest.raises(InputError, match="priority = 'urgent': expected one of CRITICAL, HIGH, NORMAL, LOW"):
            await call


async def test_the_same_name_in_another_tenant_is_somebody_else(limiter: RateLimiter, user: str) -> None:
    assert await burst(limiter, user) == 10
    assert (await limiter.check_rate_limit(user, tenant="other"))[0]


async def test_a_call_that_cannot_begin_in_time_is_refused_at_once(limiter: RateLimiter, user: str) -> None:
    await burst(limiter, user)
    started = time.monotonic()
    with pytest.raises(RateLimited, match="requests per minute") as refused:
        await limiter.process_with_rate_limit(user_id=user, func=asyncio.sleep, delay=0, timeout=2)
    assert time.monotonic() - started < 1.5
    assert 2 < refused.value.retry_after_s <= 10


async def test_a_call_waits_for_its_turn_and_hands_on_arguments_and_result(url: str | None, user: str) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    async def product(a: int, *, b: int) -> int:
        return a * b

    async with RateLimiter(config(url, requests_per_minute=30, burst_size=1, redis_timeout_s=5)) as limiter:
        await burst(limiter, user, 1)
        assert await limiter.process_with_rate_limit(user, product, 6, b=7, priority=Priority.HIGH) == 42
        assert not (await limiter.check_rate_limit(user))[0]  # what it waited for, it took
        assert await limiter.process_with_rate_limit("another", add, 1, 2) == 3


async def test_a_call_that_takes_too_long_is_ended_and_refunded(limiter: RateLimiter, user: str) -> None:
    with pytest.raises(DeadlineExceeded, match="timeout = 0.05"):
        await limiter.process_with_rate_limit(user, asyncio.sleep, 30, timeout=0.05)
    assert await burst(limiter, user) == 10


async def test_a_call_s_own_timeout_is_its_own(limiter: RateLimiter, user: str) -> None:
    async def fails() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await limiter.process_with_rate_limit(user, fails)


async def test_what_fails_or_is_cancelled_costs_nothing(limiter: RateLimiter, user: str) -> None:
    async def fails() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await limiter.process_with_rate_limit(user, fails)
    task = asyncio.create_task(limiter.process_with_rate_limit(user, asyncio.sleep, 30))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await burst(limiter, user) == 10


async def test_the_most_urgent_of_those_who_wait_goes_first(user: str) -> None:
    async with RateLimiter(config(requests_per_minute=300, burst_size=1)) as limiter:
        await burst(limiter, user, 1)
        order: list[str] = []
        calls = [
            limiter.process_with_rate_limit(user, order.append, priority, priority=priority)
            for priority in ("LOW", "NORMAL", "CRITICAL", "HIGH")
        ]
        await asyncio.gather(*calls)
    assert order == ["CRITICAL", "HIGH", "NORMAL", "LOW"]


async def test_one_who_gives_up_does_not_hold_up_the_others(user: str) -> None:
    async with RateLimiter(config(requests_per_minute=600, burst_size=1)) as limiter:
        await burst(limiter, user, 1)
        first = asyncio.create_task(limiter.process_with_rate_limit(user, asyncio.sleep, 0, priority="CRITICAL"))
        second = asyncio.create_task(limiter.process_with_rate_limit(user, asyncio.sleep, 0, "done", priority="LOW"))
        await asyncio.sleep(0)
        first.cancel()
        async with asyncio.timeout(20):
            assert await second == "done"


async def test_requests_leave_the_queue_by_priority(limiter: RateLimiter) -> None:
    for n, priority in enumerate((Priority.LOW, Priority.NORMAL, Priority.CRITICAL, "HIGH", Priority.CRITICAL)):
        await limiter.enqueue_request(f"user {n}", {"n": n}, priority)
    async with asyncio.timeout(20):
        left = [await limiter.dequeue_request() for _ in range(5)]
    assert left == [
        ("user 2", {"n": 2}, Priority.CRITICAL),
        ("user 4", {"n": 4}, Priority.CRITICAL),
        ("user 3", {"n": 3}, Priority.HIGH),
        ("user 1", {"n": 1}, Priority.NORMAL),
        ("user 0", {"n": 0}, Priority.LOW),
    ]


async def test_an_empty_queue_is_waited_for(limiter: RateLimiter) -> None:
    with pytest.raises(TimeoutError):
        await limiter.dequeue_request(timeout=0.03)
    waiting = asyncio.create_task(limiter.dequeue_request(timeout=5))
    await limiter.enqueue_request("user", [1, None, "ü"])
    assert await waiting == ("user", [1, None, "ü"], Priority.NORMAL)


async def test_what_json_cannot_hold_is_refused_by_name(limiter: RateLimiter) -> None:
    for wrong in (object(), float("nan"), {1, 2}):
        with pytest.raises(InputError, match="give what JSON can hold") as refused:
            await limiter.enqueue_request("user", wrong)
        assert refused.value.field == "data"


@pytest.mark.parametrize("where", ["memory", "redis"])
async def test_a_full_queue_refuses(where: str, own_redis: RedisServer) -> None:
    async with RateLimiter(config(own_redis.url if where == "redis" else None, max_queue=2)) as limiter:
        await limiter.enqueue_request("user", 1)
        await limiter.enqueue_request("user", 2)
        with pytest.raises(Overloaded, match="2 requests wait"):
            await limiter.enqueue_request("user", 3)


async def test_a_low_request_that_has_waited_goes_before_a_critical_one_that_comes(own_redis: RedisServer) -> None:
    for url in (None, own_redis.url):
        async with RateLimiter(config(url, aging_s=0.02)) as limiter:
            await limiter.enqueue_request("old", 1, Priority.LOW)
            await asyncio.sleep(0.07)
            await limiter.enqueue_request("new", 2, Priority.CRITICAL)
            assert (await limiter.dequeue_request())[0] == "old"


async def test_without_the_priority_queue_it_is_first_come_first_served(user: str) -> None:
    async with RateLimiter(config(enable_priority_queue=False)) as limiter:
        await limiter.enqueue_request("first", 1, Priority.LOW)
        await limiter.enqueue_request("second", 2, Priority.CRITICAL)
        assert (await limiter.dequeue_request())[0] == "first"


async def test_a_queue_entry_goes_to_one_process_only(own_redis: RedisServer) -> None:
    async with RateLimiter(config(own_redis.url)) as one, RateLimiter(config(own_redis.url)) as two:
        for n in range(40):
            await one.enqueue_request("user", n)
        taken = await asyncio.gather(*(each.dequeue_request(timeout=5) for each in (one, two) for _ in range(20)))
        assert sorted(data for _, data, _ in taken) == list(range(40))


async def test_an_entry_that_comes_as_the_taker_gives_up_is_not_lost(proxied: RedisProxy) -> None:
    async with RateLimiter(config(proxied.url)) as limiter:
        await limiter.enqueue_request("user", 1)
        proxied.order(delay_s=0.2)
        assert (await limiter.dequeue_request(timeout=0.1))[1] == 1
        with pytest.raises(TimeoutError, match=r"timeout = 0.1 s"):
            await limiter.dequeue_request(timeout=0.1)


async def test_the_queue_goes_on_at_once_after_redis_was_restarted_unnoticed(own_redis: RedisServer) -> None:
    """The connection was closed while nobody used it."""
    async with RateLimiter(config(own_redis.url)) as limiter:
        await limiter.enqueue_request("user", 1)
        own_redis.stop()
        own_redis.start()
        await limiter.enqueue_request("user", 2)
        own_redis.stop()
        own_redis.start()
        assert [(await limiter.dequeue_request(timeout=5))[1] for _ in range(2)] == [1, 2]


# Reserved, then settled


async def test_tokens_are_reserved_and_corrected_when_they_are_known(limiter: RateLimiter, user: str) -> None:
    limits = config(tokens_per_minute=10_000).limits
    reservation = await limiter.reserve(user, tenant="t", limits=limits, tokens=4000)
    assert reservation.decision.remaining["tokens"] == 6000
    await reservation.used(Usage(100, 50))
    again = await limiter.reserve(user, tenant="t", limits=limits, tokens=0)
    assert 9840 <= again.decision.remaining["tokens"] <= 9900
    await again.used(Usage(0, 0))


async def test_an_estimate_above_a_share_is_corrected_by_what_was_taken_of_it(user: str) -> None:
    settings = config(tokens_per_minute=10_000, cost_usd_per_day=1.0, reserve_cost_usd=0.5)
    async with RateLimiter(settings, processes=4) as limiter:
        reservation = await limiter.reserve(user, tenant="t", tokens=4000)
        assert reservation.decision.remaining["tokens"] == 0  # of 2500
        await reservation.used(Usage(2000, 400, cost_usd=0.2))
        with pytest.raises(RateLimited, match="cost per day") as refused:
            await limiter.reserve(user, tenant="t", tokens=50)
    left = {name: int(r) for name, r in re.findall(r'"(\w+)";r=(\d+)', refused.value.headers["RateLimit"])}
    assert 100 <= left["tokens"] < 300  # 42 come back per second
    assert 50_000 <= left["cost"] < 50_100


async def test_a_cache_hit_gives_the_request_back_only_where_set(user: str) -> None:
    for refund, admitted in ((("cache_hit",), 10), (("failure",), 9)):
        async with RateLimiter(config(refund=refund)) as limiter:
            reservation = await limiter.reserve(user, tenant="default")
            await reservation.used(Usage(), cache_hit=True)
            await reservation.failed()  # a second settling changes nothing
            assert await burst(limiter, user) == admitted


# Places of concurrent_requests, when Redis did not hear in time that they are free


@pytest.fixture
def proxied(tmp_path_factory: pytest.TempPathFactory, own_redis: RedisServer) -> Iterator[RedisProxy]:
    folder = tmp_path_factory.mktemp("p")
    with open_redis_proxy(folder / "p.sock", Path(own_redis.url.removeprefix("unix://").partition("?")[0])) as opened:
        yield opened


@pytest.fixture
def alone(proxied: RedisProxy, monkeypatch: pytest.MonkeyPatch) -> RateLimiter:
    """One request of a user at a time."""
    monkeypatch.setattr(presence, "EVERY_S", 0.5)
    return RateLimiter(config(proxied.url, concurrent_requests=1, redis_timeout_s=0.5, retry_s=0.05, burst_size=1000))


async def place_of(limiter: RateLimiter, user: str) -> None:
    """Far sooner than `lease_s`."""
    async with asyncio.timeout(20):
        while True:
            try:
                reservation = await limiter.reserve(user, tenant="t")
            except RateLimited:
                await asyncio.sleep(0.02)
                continue
            await reservation.used()
            if reservation.decision.source == "redis":
                return


async def cancel(task: asyncio.Task[Any], after_s: float) -> None:
    await asyncio.sleep(after_s)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_who_gives_up_while_asking_holds_no_place(alone: RateLimiter, proxied: RedisProxy, user: str) -> None:
    async with alone:
        await place_of(alone, user)
        proxied.order(delay_s=0.2)
        await cancel(asyncio.create_task(alone.reserve(user, tenant="t")), 0.1)
        await asyncio.sleep(0.2)  # what was sent arrives
        proxied.order(delay_s=0)
        await place_of(alone, user)


async def test_who_is_cut_off_while_it_gives_its_place_back_holds_none(
    alone: RateLimiter, proxied: RedisProxy, user: str
) -> None:
    async with alone:
        reservation = await alone.reserve(user, tenant="t")
        proxied.order(delay_s=0.4)
        await cancel(asyncio.create_task(reservation.used()), 0.1)
        proxied.order(down=True)
        proxied.order(down=False, delay_s=0)
        await place_of(alone, user)


@pytest.mark.parametrize("trouble", [{"down": True}, {"delay_s": 1.0}])
async def test_a_place_that_was_given_back_during_an_outage_is_free_after_it(
    alone: RateLimiter, proxied: RedisProxy, user: str, trouble: dict[str, Any]
) -> None:
    async with alone:
        reservation = await alone.reserve(user, tenant="t")
        proxied.order(**trouble)
        async with asyncio.timeout(20):
            while not alone.degraded:
                await alone.check_rate_limit("another")
        await reservation.used()
        proxied.order(down=False, delay_s=0)
        await place_of(alone, user)


# A Redis that goes away


async def test_four_processes_admit_what_one_would(own_redis: RedisServer, user: str) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        results = pool.starmap_async(_ask_in_process, [(own_redis.url, user, 250)] * 4)
        admitted, first, last = 0, float("inf"), 0.0
        for count, began, ended in await asyncio.to_thread(results.get, 60):
            admitted, first, last = admitted + count, min(first, began), max(last, ended)
    # burst 50 and one per second: the interval is known to the second, not to the request
    assert 50 <= admitted <= 50 + (last - first) + 1


def _ask_in_process(url: str, user: str, requests: int) -> tuple[int, float, float]:
    async def ask() -> tuple[int, float, float]:
        async with RateLimiter(config(url, burst_size=50, redis_timeout_s=5)) as limiter:
            began = time.time()
            admitted = await burst(limiter, user, requests)
            return admitted, began, time.time()

    return asyncio.run(ask())


async def test_without_redis_each_process_gives_its_share_and_says_so(own_redis: RedisServer, user: str) -> None:
    async with RateLimiter(config(own_redis.url, replicas=2, retry_s=0.1), processes=4) as limiter:
        assert (limiter.backend, limiter.degraded) == ("redis", False)
        own_redis.stop()
        assert await burst(limiter, user) == 2  # 10 // 4
        assert (limiter.backend, limiter.degraded) == ("local share: 1/4 of each limit in this process", True)
        own_redis.start()
        async with asyncio.timeout(20):
            while limiter.degraded:
                await limiter.check_rate_limit("somebody else")
                await asyncio.sleep(0.02)
        assert limiter.backend == "redis"


async def test_it_starts_without_redis_and_finds_it_later(own_redis: RedisServer, user: str) -> None:
    own_redis.stop()
    async with RateLimiter(config(own_redis.url, retry_s=0.05)) as limiter:
        assert limiter.degraded
        assert await burst(limiter, user) == 10
        own_redis.start()
        await limiter.check()
        assert not limiter.degraded


async def test_a_redis_that_hangs_costs_each_request_50_ms_at_most(own_redis: RedisServer, user: str) -> None:
    async with RateLimiter(config(own_redis.url, retry_s=0.2, **FAST, burst_size=1000)) as limiter:
        own_redis.stand_still()
        waits = []
        for _ in range(100):
            started = time.perf_counter()
            assert (await limiter.check_rate_limit(user))[0]
            waits.append(time.perf_counter() - started)
            await asyncio.sleep(0.01)
        own_redis.go_on()
        # One in each retry_s waits for 50 ms, the others not at all; a busy machine adds to some.
        assert statistics.median(waits) < 0.02
        assert sum(waits) < 100 * 0.05
        async with asyncio.timeout(20):
            while limiter.degraded:
                await asyncio.sleep(0.05)
                await limiter.check_rate_limit(user)


async def test_the_buckets_survive_a_restart_of_a_redis_with_aof(own_redis: RedisServer, user: str) -> None:
    slow = {"requests_per_minute": 1, "requests_per_hour": 12, "retry_s": 0.01, "redis_timeout_s": 5}
    async with RateLimiter(config(own_redis.url, **slow)) as limiter:
        assert await burst(limiter, user, 7) == 7
        own_redis.kill()
        own_redis.start()
        await limiter.check()
        assert await burst(limiter, user) == 3


async def test_a_full_redis_is_a_redis_that_is_away(tmp_path_factory: pytest.TempPathFactory, user: str) -> None:
    server = RedisServer(tmp_path_factory.mktemp("full"), maxmemory="1")
    server.start()
    try:
        async with RateLimiter(config(server.url), processes=2) as limiter:
            assert await burst(limiter, user) == 5
            assert limiter.degraded
    finally:
        server.stop()


async def test_a_redis_that_evicts_is_named_in_the_log(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    server = RedisServer(tmp_path_factory.mktemp("evicts"), maxmemory_policy="allkeys-lru")
    server.start()
    try:
        async with RateLimiter(config(server.url)):
            assert "maxmemory-policy allkeys-lru" in caplog.text
    finally:
        server.stop()


async def test_what_is_no_redis_url_stops_the_start_without_showing_it() -> None:
    with pytest.raises(ConfigError, match="rate_limit.redis_url is not a Redis URL") as refused:
        async with RateLimiter(config("http://:secret@host")):
            pass
    assert "secret" not in str(refused.value)


async def test_an_idle_user_s_keys_go(own_redis: RedisServer, user: str) -> None:
    import redis.asyncio

    async with RateLimiter(config(own_redis.url, redis_timeout_s=5)) as limiter:
        await burst(limiter, user)
        client = redis.asyncio.Redis.from_url(own_redis.url)
        keys = await client.keys("ragents:limits:*")
        assert len(keys) == 2  # the user's, and that of the processes
        assert all([0 < await client.pttl(key) < 60_000 for key in keys])
        await client.aclose()


async def test_a_burst_does_not_take_its_own_lag_for_redis_s(own_redis: RedisServer, user: str) -> None:
    """Each request keeps the loop for longer than a decision may take; Redis is well."""
    over = False

    async def busy() -> None:
        while not over:
            time.sleep(0.3)  # noqa: ASYNC251  # what is meant
            await asyncio.sleep(0)

    async with RateLimiter(
        config(own_redis.url, burst_size=10, requests_per_minute=1, redis_timeout_s=0.25)
    ) as limiter:
        other = asyncio.create_task(busy())
        found = await asyncio.gather(*(limiter.check_rate_limit(user) for _ in range(30)))
        over = True
        await other
        assert limiter.backend == "redis"
    assert sum(allowed for allowed, _ in found) == 10
