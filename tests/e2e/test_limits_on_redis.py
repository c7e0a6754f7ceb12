"""The rate limits on a Redis that is gone, slow, full or evicting while many ask: one of their own, or the cache's."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import redis

from benchmarks.mock_llm import MockLLM, open_mock_llm
from benchmarks.mock_llm.types import Script, Step
from tests.e2e.conftest import ROOT, Server, StartServer
from tests.e2e.test_cache_on_redis import CLIENTS, ask_all, running, wait_until, wait_until_ok
from tests.redis_proxy import RedisProxy, open_redis_proxy
from tests.redis_server import RedisServer

SETTINGS = {
    "RAGENTS_RATE_LIMIT__ENABLED": "true",
    "RAGENTS_RATE_LIMIT__REQUESTS_PER_MINUTE": "60000",
    "RAGENTS_RATE_LIMIT__REQUESTS_PER_HOUR": "2000000",
    "RAGENTS_RATE_LIMIT__BURST_SIZE": "5000",
    "RAGENTS_RATE_LIMIT__RETRY_S": "0.2",
    "RAGENTS_RATE_LIMIT__REDIS_TIMEOUT_S": "0.25",  # a busy machine may keep a good Redis waiting for longer
    "RAGENTS_EMBEDDINGS__BACKEND": "hashing",
    "RAGENTS_RAG__MIN_CONFIDENCE": "0",
    "RAGENTS_LLM__PROVIDER": "openai",
    "RAGENTS_LLM__MODEL_NAME": "mock",
    "RAGENTS_SERVING__WORKERS": "2",
    "RAGENTS_SERVING__SAMPLE_DOCUMENTS": str(ROOT / "docs"),
}
TIMES = {"RAGENTS_CACHE__RETRY_S": "0.2", "RAGENTS_CACHE__TIMEOUT_S": "0.25"}


@pytest.fixture(scope="module", params=["own", "the cache's"])
def whose(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def upstream(home: Path, whose: str) -> Iterator[RedisServer]:
    with running(home / f"limits-{whose[:3]}") as server:
        yield server


@pytest.fixture(scope="module")
def proxy(home: Path, whose: str, upstream: RedisServer) -> Iterator[RedisProxy]:
    socket = home / f"limits-{whose[:3]}" / "redis.sock"
    with open_redis_proxy(home / f"limits-{whose[:3]}.sock", socket) as opened:
        yield opened


@pytest.fixture(scope="module")
def mock() -> Iterator[MockLLM]:
    with open_mock_llm(Script(steps=[Step(content="It is so. [1]")], first_token_s=0.1)) as opened:
        yield opened


@pytest.fixture(scope="module")
def server(start_server: StartServer, whose: str, proxy: RedisProxy, mock: MockLLM) -> Server:
    settings = SETTINGS | {"RAGENTS_LLM__BASE_URL": mock.url, "RAGENTS_RATE_LIMIT__REDIS_URL": proxy.url}
    if whose != "own":
        settings |= TIMES | {"RAGENTS_CACHE__BACKEND": "redis", "RAGENTS_CACHE__REDIS_URL": proxy.url}
    return start_server(f"limits-{whose[:3]}", **settings)


def local_share(server: Server) -> float:
    lines = httpx.get(f"{server.url}/metrics", timeout=20).text.splitlines()
    return max(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("rag_rate_limit_local_share"))


def limits_of(server: Server) -> str:
    """What /health says of the limits, once one of the workers has found out."""
    until = time.monotonic() + 40
    while True:
        wait_until(server, "degraded")
        body = httpx.get(f"{server.url}/health", timeout=20).json()["components"]["limits"]
        if body["error"]:
            return str(body["error"])
        assert time.monotonic() < until, body


def check_recovered(server: Server) -> None:
    """Without a restart: both workers count on Redis again."""
    wait_until_ok(server)
    until = time.monotonic() + 40
    while local_share(server) != 0.0:
        assert ask_all(server, "back")[0] == {200: CLIENTS}
        assert time.monotonic() < until
    answer = httpx.post(f"{server.url}/query", json={"query": "How is the store configured?"}, timeout=60)
    assert '"minute";q=60000;w=60' in answer.headers["ratelimit-policy"]


@contextmanager
def configured(server: RedisServer, **settings: str) -> Iterator[None]:
    with redis.Redis.from_url(server.url) as connection:
        before = {name: connection.config_get(name)[name] for name in settings}
        for name, value in settings.items():
            connection.config_set(name, value)
        yield
        for name, value in before.items():
            connection.config_set(name, value)


def test_a_redis_that_is_gone(server: Server, proxy: RedisProxy) -> None:
    assert ask_all(server, "well")[0] == {200: CLIENTS}
    check_recovered(server)  # a busy machine may have kept Redis waiting
    proxy.order(down=True)
    assert ask_all(server, "gone")[0] == {200: CLIENTS}
    assert "1/2 of each limit in this process" in limits_of(server)
    assert local_share(server) == 1.0
    proxy.order(down=False)
    check_recovered(server)


def test_a_redis_that_takes_two_seconds(server: Server, proxy: RedisProxy) -> None:
    usual = ask_all(server, "usual")[1]
    proxy.order(delay_s=2.0)
    statuses, longest = ask_all(server, "slow")
    assert statuses == {200: CLIENTS}
    assert longest < usual * 2 + 1.5, "nobody waited for it"
    assert local_share(server) == 1.0
    assert limits_of(server)
    proxy.order(delay_s=0.0)
    check_recovered(server)


def test_a_redis_that_is_full(server: Server, upstream: RedisServer) -> None:
    with configured(upstream, maxmemory="1"):
        assert ask_all(server, "full")[0] == {200: CLIENTS}
        assert local_share(server) == 1.0
        assert limits_of(server)
    check_recovered(server)


def test_a_redis_that_evicts(server: Server, upstream: RedisServer) -> None:
    with (
        configured(upstream, **{"maxmemory": "3mb", "maxmemory-policy": "allkeys-random"}),
        redis.Redis.from_url(upstream.url) as connection,
    ):
        for n in range(60):
            connection.set(f"junk {n}", b"x" * 100_000)
        assert connection.info("stats")["evicted_keys"] > 0
        assert ask_all(server, "evicting")[0] == {200: CLIENTS}
        connection.flushall()
    check_recovered(server)
