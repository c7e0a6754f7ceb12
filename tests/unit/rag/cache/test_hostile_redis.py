"""A Redis that refuses, or that answers with something else, costs no question its answer."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from ragents.errors import BackendUnavailable
from ragents.llm.asked import asked_by
from ragents.rag.cache import CacheConfig, CacheScope, RAGCache, get_cache
from ragents.rag.types import RAGResponse
from tests.redis_server import RedisServer

GREETINGS = {b"HELLO": b"%1\r\n+proto\r\n:3\r\n", b"PING": b"+PONG\r\n", b"CLIENT": b"+OK\r\n", b"SELECT": b"+OK\r\n"}
REFUSALS = ["WRONGTYPE", "MISCONF", "NOPERM", "BUSY", "OOM", "CROSSSLOT", "ERR"]
NONSENSE = [
    b":5\r\n",
    b"+OK\r\n",
    b"$-1\r\n",
    b"$1\r\nx\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"*1\r\n$1\r\nx\r\n",
    b"*2\r\n:1\r\n$12\r\n12345678body\r\n",
    b"*3\r\n:1\r\n:2\r\n:3\r\n",
    b"*3\r\n$1\r\nx\r\n$12\r\n12345678body\r\n$1\r\nx\r\n",
    b"*3\r\n:1\r\n*1\r\n:2\r\n*1\r\n:3\r\n",
    b"*6\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n",
    b"what?\r\n",
    b"$99999999999999\r\nx\r\n",
]


@asynccontextmanager
async def answering(folder: Path, answer: bytes) -> AsyncIterator[str]:
    """A server that says `answer` to whatever is more than a greeting."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readline():
                words = []
                for _ in range(int(head[1:])):
                    size = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(size + 2))[:-2])
                writer.write(GREETINGS.get(words[0].upper(), answer))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, str(folder / "s"))
    try:
        yield f"unix://{folder / 's'}"
    finally:
        server.close()


def make(url: str, **settings: object) -> RAGCache:
    return get_cache(
        CacheConfig.model_validate({"backend": "redis", "redis_url": url, "retry_s": 0.05, "chunk_ttl": 0, **settings})
    )


async def use_all_of(cache: RAGCache) -> None:
    """Every call that a question, a look at the statistics or an admin makes."""
    assert await cache.get_answer("q", scope=CacheScope()) is None
    assert await cache.get_retrieval("q", 5, scope=CacheScope()) is None
    assert await cache.get_rewrite("q", scope=CacheScope()) is None
    with asked_by("t", read_along=False):
        assert await cache.get_many(["a", "b"]) == [None, None]
    await cache.cache_answer("q", RAGResponse("q"), scope=CacheScope())
    async with cache.alone("q", scope=CacheScope(), wait_s=0.1):
        pass
    assert all(each.entries >= 0 for each in (await cache.stats()).values())
    with suppress(BackendUnavailable):
        await cache.clear("answer")


@pytest.mark.parametrize("answer", NONSENSE, ids=repr)
async def test_an_answer_that_is_none_is_a_miss(answer: bytes, tmp_path: Path) -> None:
    async with answering(tmp_path, answer) as url, asyncio.timeout(20):
        cache = make(url)
        await use_all_of(cache)
        await cache.close()


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_redis_that_refuses_is_said_to_refuse_and_not_to_come_and_go(
    refusal: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ragents.rag.cache")
    async with answering(tmp_path, f"-{refusal} with a secret\r\n".encode()) as url, asyncio.timeout(20):
        cache = make(url)
        for _ in range(5):
            await use_all_of(cache)
            assert cache.state is not None
            assert "away" not in cache.state
            await asyncio.sleep(0.06)  # the time after which one that is away is looked for
        await cache.close()
    assert len(caplog.messages) == 1
    assert "secret" not in str(cache.state) + caplog.text


@pytest.mark.parametrize("refusal", ["NOAUTH", "LOADING", "READONLY"])
async def test_one_that_is_not_ready_is_away(refusal: str, tmp_path: Path) -> None:
    async with answering(tmp_path, f"-{refusal} with a secret\r\n".encode()) as url, asyncio.timeout(20):
        cache = make(url, retry_s=60)
        await use_all_of(cache)
        assert "away" in str(cache.state)
        assert "secret" not in str(cache.state)
        await cache.close()


async def test_an_admin_who_clears_a_silent_redis_is_told_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragents.rag.cache.redis.backend.CLEAR_TIMEOUT_S", 0.2)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(serve, str(tmp_path / "s"))
    cache = make(f"unix://{tmp_path / 's'}")
    async with asyncio.timeout(5):
        with pytest.raises(BackendUnavailable):
            await cache.clear()
    await cache.close()
    server.close()


async def _as_list(cache: RAGCache, key: str) -> None:
    client = cache._backend._client  # type: ignore[attr-defined]
    await client.delete(f"{cache.config.namespace}:entry:{key}")
    await client.rpush(f"{cache.config.namespace}:entry:{key}", "x")


async def test_a_key_of_another_type_is_a_miss_and_can_be_stored_anew(redis_url: str, tmp_path: Path) -> None:
    cache = make(redis_url, namespace=f"t{tmp_path.name}"[:40].replace("_", "-"), timeout_s=5)
    for text in ("q", "other"):
        await cache.cache_answer(text, RAGResponse(text), scope=CacheScope())
    await _as_list(cache, cache._key_of("answer", "q", CacheScope()))
    missed, found = await asyncio.gather(*(cache.get_answer(each, scope=CacheScope()) for each in ("q", "other")))
    assert missed is None
    assert found is not None, "of the same call to Redis"
    assert cache.state is None
    await cache.cache_answer("q", RAGResponse("q"), scope=CacheScope())
    assert await cache.get_answer("q", scope=CacheScope()) is not None
    await cache.clear()
    await cache.close()


async def test_a_server_that_was_the_primary_is_away_until_it_takes_entries_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = RedisServer(tmp_path)
    server.start()
    try:
        cache = make(server.url, timeout_s=5, retry_s=0.02)
        client = cache._backend._client  # type: ignore[attr-defined]
        await cache.cache_answer("q", RAGResponse("q"), scope=CacheScope())
        await client.execute_command("REPLICAOF", "127.0.0.1", "1")
        await cache.cache_answer("r", RAGResponse("r"), scope=CacheScope())
        for _ in range(10):
            await asyncio.sleep(0.02)
            assert "away" in str(cache.state)
        await client.execute_command("REPLICAOF", "NO", "ONE")
        async with asyncio.timeout(10):
            while cache.state is not None:
                await asyncio.sleep(0.02)
        assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) == 1, "not one with each try"
        await cache.cache_answer("r", RAGResponse("r"), scope=CacheScope())
        assert await cache.get_answer("r", scope=CacheScope()) is not None
        await cache.close()
    finally:
        server.stop()


async def test_look_ups_given_up_midway_leave_nothing_to_who_asks_next(redis_url: str, tmp_path: Path) -> None:
    """What one did not wait for, another one's connection would read."""
    cache = make(redis_url, namespace=f"u{tmp_path.name}"[:40].replace("_", "-"), timeout_s=5)
    for n in range(50):
        await cache.cache_answer(str(n), RAGResponse(str(n)), scope=CacheScope(f"t{n}"))
    given_up = 0
    for round_ in range(40):
        asked = [
            asyncio.create_task(cache.get_answer(str(n), scope=CacheScope(f"t{n}"))) for n in range(round_ % 7, 50, 7)
        ]
        for _ in range(round_ % 9):
            await asyncio.sleep(0)
        for task in asked[::2]:
            given_up += task.cancel()
        for n, found in zip(
            range(round_ % 7, 50, 7), await asyncio.gather(*asked, return_exceptions=True), strict=True
        ):
            assert isinstance(found, asyncio.CancelledError) or (found is not None and found.response.query == str(n))
    assert given_up > 50
    assert cache.state is None
    await cache.clear()
    await cache.close()
