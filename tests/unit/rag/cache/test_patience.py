"""What a request waits for its caches, however many look-ups it makes."""

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragents.errors import BackendUnavailable, ConfigError
from ragents.rag.cache import CacheConfig, CacheScope, get_cache
from ragents.rag.cache.patience import patient_for
from ragents.rag.types import RAGResponse
from tests.redis_server import RedisServer


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(64)
        yield f"unix://{tmp_path / 's'}"


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """One that a test may kill."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


async def test_a_silent_redis_costs_a_request_its_patience_and_no_more(silent: str) -> None:
    cache = get_cache(CacheConfig.model_validate({"backend": "redis", "redis_url": silent, "timeout_s": 1}))
    began = time.monotonic()
    with patient_for(0.05):
        for n in range(20):
            assert await cache.get_answer(str(n), scope=CacheScope()) is None
            await cache.cache_answer(str(n), RAGResponse(str(n)), scope=CacheScope())
    assert time.monotonic() - began < 1.5, "not a second for each of forty"
    await cache.close()


async def test_the_tasks_of_a_request_share_its_patience(silent: str) -> None:
    cache = get_cache(CacheConfig.model_validate({"backend": "redis", "redis_url": silent, "timeout_s": 0.6}))
    began = time.monotonic()
    with patient_for(0.6):
        for _ in range(3):
            await asyncio.gather(*(cache.get_answer(str(n), scope=CacheScope()) for n in range(5)))
    assert time.monotonic() - began < 1.1, "not twice"
    await cache.close()


async def test_a_question_that_found_redis_silent_does_not_wait_for_it_again_to_be_answered_alone(silent: str) -> None:
    cache = get_cache(CacheConfig.model_validate({"backend": "redis", "redis_url": silent, "timeout_s": 1}))
    began = time.monotonic()
    with patient_for(1):
        assert await cache.get_answer("q", scope=CacheScope()) is None
        async with cache.alone("q", scope=CacheScope(), wait_s=5) as flight:
            assert flight.first
            await cache.cache_answer("q", RAGResponse("q"), scope=CacheScope())
    assert time.monotonic() - began < 1.9, "not twice"
    await cache.close()


async def test_a_redis_that_falls_silent_meanwhile_is_waited_for_once(silent: str) -> None:
    """The first that waits is the taking of the name; nobody waits for its giving back."""
    cache = get_cache(CacheConfig.model_validate({"backend": "redis", "redis_url": silent, "timeout_s": 1}))
    began = time.monotonic()
    with patient_for(1):
        async with cache.alone("q", scope=CacheScope(), wait_s=5) as flight:
            assert flight.first
    assert time.monotonic() - began < 1.9, "not twice"
    await cache.close()


async def test_after_an_outage_connections_of_before_it_are_not_taken_for_another(own_redis: RedisServer) -> None:
    config = {"backend": "redis", "redis_url": own_redis.url, "retry_s": 0.05, "timeout_s": 0.5}
    cache = get_cache(CacheConfig.model_validate(config))
    await asyncio.gather(*(cache.cache_answer(str(n), RAGResponse(str(n)), scope=CacheScope()) for n in range(8)))
    await asyncio.to_thread(own_redis.kill)
    assert await cache.get_answer("0", scope=CacheScope()) is None
    assert "away" in str(cache.state)
    await asyncio.to_thread(own_redis.start)
    async with asyncio.timeout(20):
        while cache.state is not None:
            await asyncio.sleep(0.02)
    for n in range(8):
        await cache.get_answer(str(n), scope=CacheScope())
        assert cache.state is None
    await cache.close()


async def test_a_redis_that_is_not_there_is_away_at_once_and_said_to_be(tmp_path: Path) -> None:
    url = f"unix://{tmp_path / 'nothing'}"
    cache = get_cache(CacheConfig.model_validate({"backend": "redis", "redis_url": url}))
    assert cache.state is None
    assert await cache.get_answer("q", scope=CacheScope()) is None
    assert "away" in str(cache.state)
    with pytest.raises(BackendUnavailable):
        await cache.clear()
    await cache.close()


def test_an_address_that_is_none_is_refused_without_its_password() -> None:
    with pytest.raises(ConfigError) as error:
        get_cache(CacheConfig.model_validate({"backend": "redis", "redis_url": "nonsense://:secret@host"}))
    assert "cache.redis_url" in str(error.value)
    assert "secret" not in str(error.value)
