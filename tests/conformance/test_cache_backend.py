"""What every backend of the cache does, in memory and on a real Redis."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator

import pytest

from ragents.rag.cache import CacheBackend, CacheConfig, CacheScope, CacheUsage, MemoryCache, RAGCache
from ragents.rag.cache import memory as memory_backend
from ragents.rag.cache.flights import Flights
from ragents.rag.cache.redis import RedisCache
from ragents.rag.cache.redis import backend as redis_backend
from ragents.rag.types import RAGResponse

MB = 1024 * 1024
DAY = 86_400.0


@pytest.fixture(params=["memory", "redis"])
async def small(request: pytest.FixtureRequest) -> AsyncIterator[CacheBackend]:
    """With a budget of 20,000 bytes."""
    backend = make(request.param, 20_000, request)
    yield backend
    await backend.clear()
    await backend.close()


@pytest.fixture(params=["memory", "redis"])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[CacheBackend]:
    backend = make(request.param, MB, request)
    yield backend
    await backend.clear()
    await backend.close()


def make(kind: str, budget: int, request: pytest.FixtureRequest) -> CacheBackend:
    if kind == "memory":
        return MemoryCache(budget)
    settings = {
        "backend": "redis",
        "redis_url": request.getfixturevalue("redis_url"),
        "namespace": f"t{uuid.uuid4().hex}",
        "max_cache_size_mb": budget / MB,
        "timeout_s": 5.0,
    }
    return RedisCache(CacheConfig.model_validate(settings))


async def value(backend: CacheBackend, key: str) -> bytes | None:
    (held,) = await backend.get_many([key])
    return held.value if held else None


async def used(backend: CacheBackend, group: str) -> CacheUsage:
    use = await backend.usage(group)
    assert use is not None
    return use


async def test_what_was_counted_of_owners_of_whom_nothing_is_held_does_not_pile_up(
    small: CacheBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The budget of `small` holds some twenty entries, whoever they are of."""
    most, owners = 300, 1_000
    monkeypatch.setattr(redis_backend, "COUNTED_FIELDS", most)
    monkeypatch.setattr(memory_backend, "COUNTED_GROUPS", most)
    small._most_groups = most  # type: ignore[attr-defined]  # of the one in memory
    for n in range(owners):
        await small.get_many([f"answer:{n}:1"])
        await small.set(f"answer:{n}:1", b"x" * 100, DAY)
    if isinstance(small, RedisCache):
        held = await small._client.hlen(small._accounts[0])  # type: ignore[misc]  # redis-py's own
    else:
        held = len(small._usage)  # type: ignore[attr-defined]
    assert held <= 1.5 * most
    of_all = await used(small, "answer")
    assert (of_all.misses, of_all.evictions) == (owners, owners - of_all.entries)
    newest = await used(small, f"answer:{owners - 1}")
    assert (newest.entries, newest.misses) == (1, 1)
    assert (await used(small, "answer:0")).entries == 0


async def test_what_was_set_comes_back_with_its_age_and_what_it_has_left(backend: CacheBackend) -> None:
    await backend.set("answer:a:1", b"x\x00\xff", DAY)
    found, missing = await backend.get_many(["answer:a:1", "answer:a:2"])
    assert missing is None
    assert found is not None
    assert found.value == b"x\x00\xff"
    assert 0 <= found.age_s < 5
    assert DAY - 5 < found.left_s <= DAY


async def test_what_has_expired_is_gone_and_leaves_no_bytes(backend: CacheBackend) -> None:
    await backend.set("answer:a:1", b"x", 0.02)
    await asyncio.sleep(0.06)
    assert await value(backend, "answer:a:1") is None
    await backend.set("answer:a:2", b"y", DAY)
    use = await used(backend, "answer:a")
    assert use.entries == 1


async def test_the_budget_holds_and_the_least_recently_used_goes_first(small: CacheBackend) -> None:
    for n in range(4):
        await small.set(f"answer:a:{n}", bytes(4_000), DAY)
        await asyncio.sleep(0.002)
    await small.get_many(["answer:a:0"])
    await asyncio.sleep(0.002)
    dropped = await small.set("answer:b:4", bytes(4_000), DAY)
    assert dropped == ["answer:a:1"]
    assert await value(small, "answer:a:1") is None
    assert await value(small, "answer:a:0") is not None
    assert (await used(small, "answer")).bytes <= 20_000
    assert (await used(small, "answer")).evictions == 1


async def test_many_small_entries_give_way_to_a_large_one(small: CacheBackend) -> None:
    for n in range(10):
        await small.set(f"answer:a:{n}", bytes(500), DAY)
    await small.set("answer:a:large", bytes(15_000), DAY)
    use = await used(small, "answer")
    assert use.bytes <= 20_000
    assert await value(small, "answer:a:large") is not None


async def test_a_value_larger_than_the_budget_is_not_kept_and_evicts_nothing(small: CacheBackend) -> None:
    await small.set("answer:a:small", b"x", DAY)
    await small.set("answer:a:large", bytes(50_000), DAY)
    assert await value(small, "answer:a:large") is None
    assert await value(small, "answer:a:small") == b"x"


async def test_setting_again_replaces_and_is_counted_once(backend: CacheBackend) -> None:
    await backend.set("answer:a:1", bytes(1_000), DAY)
    await backend.set("answer:a:1", b"y", DAY)
    assert await value(backend, "answer:a:1") == b"y"
    use = await used(backend, "answer:a")
    assert use.entries == 1
    assert use.bytes < 1_000


async def test_usage_is_counted_by_owner_and_by_layer(backend: CacheBackend) -> None:
    await backend.set("answer:a:1", b"x", DAY)
    await backend.set("answer:b:1", b"x", DAY)
    await backend.get_many(["answer:a:1", "answer:a:2", "retrieval:a:1"])
    of_a = await used(backend, "answer:a")
    assert (of_a.hits, of_a.misses, of_a.entries) == (1, 1, 1)
    assert (await used(backend, "answer")).entries == 2
    assert (await used(backend, "retrieval")).misses == 1
    assert await backend.usage("answer:nobody") == CacheUsage()


async def test_what_cannot_be_read_was_a_miss(backend: CacheBackend) -> None:
    await backend.set("answer:a:1", b"damaged", DAY)
    await backend.get_many(["answer:a:1"])
    await backend.reject("answer:a:1")
    use = await used(backend, "answer:a")
    assert (use.hits, use.misses, use.entries, use.bytes) == (0, 1, 0, 0)


async def test_clearing_takes_what_begins_so_and_nothing_else(backend: CacheBackend) -> None:
    for key in ("answer:a:1", "answer:a:2", "answer:ab:1", "retrieval:a:1"):
        await backend.set(key, b"x", DAY)
    assert await backend.clear("answer:a:") == 2
    assert await value(backend, "answer:ab:1") == b"x"
    assert (await used(backend, "answer:a")).entries == 0
    assert await backend.clear() == 2
    assert (await used(backend, "answer")).bytes == 0


async def test_usage_tells_the_mean_age_of_what_is_held(backend: CacheBackend) -> None:
    assert (await used(backend, "answer")).age_s is None
    before_old = time.monotonic()
    await backend.set("answer:a:old", b"x", DAY)
    await asyncio.sleep(0.2)
    before_new = time.monotonic()
    await backend.set("answer:a:new", b"x", DAY)
    after_new = time.monotonic()
    of_both = (await used(backend, "answer")).age_s
    assert of_both is not None
    now, clock = time.monotonic(), 0.01  # what the server's clock and ours may differ by
    assert (after_new - before_new) / 2 + 0.1 - clock <= of_both <= now - (before_old + before_new) / 2 + clock
    await backend.set("answer:a:old", b"y", DAY)
    again = (await used(backend, "answer:a")).age_s
    assert again is not None
    assert again <= time.monotonic() - before_new + clock, "what was stored anew is young again"
    await backend.clear("answer:a:")
    assert (await used(backend, "answer")).age_s is None


async def test_a_name_is_held_by_one_until_it_is_given_or_runs_out(backend: CacheBackend) -> None:
    assert await backend.take("n", "me", 60)
    assert await backend.take("n", "me", 60), "again, to go on"
    assert not await backend.take("n", "you", 60)
    await backend.give("n", "you")
    assert not await backend.take("n", "you", 60), "only its owner gives it away"
    await backend.give("n", "me")
    assert await backend.take("n", "you", 0.02)
    await asyncio.sleep(0.05)
    assert await backend.take("n", "me", 60)


async def test_of_a_hundred_at_once_in_two_processes_one_works(backend: CacheBackend) -> None:
    here, there = Flights[str](backend, timeout_s=5), Flights[str](backend, timeout_s=5)
    ran, told = list[bool](), list[str | None]()

    async def ask(flights: Flights) -> None:
        async with flights.alone("n", wait_s=10) as flight:
            if flight.first:
                await asyncio.sleep(0.1)
                ran.append(True)
                flight.result = "done"
            else:
                assert ran, "who waited comes after the work was done"
                told.append(flight.result)

    async with asyncio.timeout(10):
        await asyncio.gather(*(ask(here if n % 2 else there) for n in range(100)))
    assert ran == [True]
    assert told.count("done") == 49, "those of the process that did it"
    assert here.joined + there.joined == 49


async def test_one_that_fails_lets_the_others_go(backend: CacheBackend) -> None:
    flights, seen = Flights[str](backend), list[bool]()

    begun = asyncio.Event()

    async def fail() -> None:
        async with flights.alone("n", wait_s=5):
            begun.set()
            await asyncio.sleep(0.05)  # the other one takes its next step first
            raise ValueError

    async def wait() -> None:
        await begun.wait()
        async with flights.alone("n", wait_s=5) as flight:
            seen.append(flight.first)

    await asyncio.gather(fail(), wait(), return_exceptions=True)
    assert seen == [False]
    async with flights.alone("n", wait_s=5) as flight:
        assert flight.first, "and the next one begins anew"


@pytest.mark.parametrize("elsewhere", [False, True], ids=["works", "waits for another process"])
async def test_when_the_first_one_is_cancelled_one_other_goes_on(backend: CacheBackend, elsewhere: bool) -> None:
    """Else all who wait would do the work at once, because one client hung up."""
    flights, there = Flights[str](backend, timeout_s=5), Flights[str](backend, timeout_s=5)
    begun, go_on, worked = asyncio.Event(), asyncio.Event(), list[str]()

    async def ask(flights: Flights[str], name: str) -> str | None:
        async with flights.alone("n", wait_s=10) as flight:
            if flight.result is None:
                worked.append(name)
                begun.set()
                await go_on.wait()
                flight.result = name
            return flight.result

    other = asyncio.create_task(ask(there, "elsewhere")) if elsewhere else None
    if elsewhere:
        await begun.wait()
    first = asyncio.create_task(ask(flights, "first"))
    await asyncio.sleep(0.05)
    others = [asyncio.create_task(ask(flights, "other")) for _ in range(30)]
    await asyncio.sleep(0.05)
    first.cancel()
    await asyncio.sleep(0.1)
    assert worked == (["elsewhere"] if elsewhere else ["first", "other"])
    go_on.set()
    async with asyncio.timeout(10):
        assert await asyncio.gather(*others) == ["other"] * 30
        if other is not None:
            await other
    assert worked == (["elsewhere"] if elsewhere else ["first"]) + ["other"]
    assert flights.joined == 29


async def test_who_waits_for_one_who_leaves_waits_no_longer_in_all(backend: CacheBackend) -> None:
    flights = Flights[str](backend, timeout_s=5)

    async def hold(seconds: float) -> None:
        async with flights.alone("n", wait_s=5):
            await asyncio.sleep(seconds)

    first, second = asyncio.create_task(hold(60)), asyncio.create_task(hold(60))
    await asyncio.sleep(0.02)
    asyncio.get_running_loop().call_later(0.2, first.cancel)
    began = asyncio.get_running_loop().time()
    async with flights.alone("n", wait_s=0.4) as flight:
        assert not flight.first
    assert 0.3 < asyncio.get_running_loop().time() - began < 2
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)


async def test_an_answer_says_how_old_it_is_and_when_it_is_due(backend: CacheBackend) -> None:
    cache = RAGCache(CacheConfig(answer_ttl=100, refresh_share=0.99), backend)
    await cache.cache_answer("q", RAGResponse("q", answer="a"), scope=CacheScope())
    fresh = await cache.get_answer("q", scope=CacheScope())
    await asyncio.sleep(1.1)
    old = await cache.get_answer("q", scope=CacheScope())
    assert fresh is not None
    assert old is not None
    assert (fresh.due, old.due) == (False, True)
    assert old.age_s >= 1.09
