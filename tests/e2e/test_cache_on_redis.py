"""The cache on a Redis that is shared, gone, silent, slow, full or evicting, while clients ask."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from benchmarks.mock_llm import MockLLM, open_mock_llm
from benchmarks.mock_llm.types import Script, Step
from tests.e2e.conftest import ROOT, Server, StartServer
from tests.redis_proxy import RedisProxy, open_redis_proxy
from tests.redis_server import RedisServer

CLIENTS = 50
EXACT = "How is the store configured?"


@pytest.fixture(scope="module")
def redis(home: Path) -> Iterator[RedisServer]:
    with running(home / "cache-redis") as server:
        yield server


@pytest.fixture(scope="module")
def proxy(home: Path, redis: RedisServer) -> Iterator[RedisProxy]:
    with open_redis_proxy(home / "proxy.sock", home / "cache-redis" / "redis.sock") as opened:
        yield opened


@pytest.fixture(scope="module")
def mock() -> Iterator[MockLLM]:
    with open_mock_llm(Script(steps=[Step(content="It is so. [1]")], first_token_s=0.3)) as opened:
        yield opened


@pytest.fixture(scope="module")
def server(start_server: StartServer, proxy: RedisProxy, mock: MockLLM) -> Server:
    """Two workers with one cache."""
    return start_server(
        "cache",
        RAGENTS_CACHE__BACKEND="redis",
        RAGENTS_CACHE__REDIS_URL=proxy.url,
        RAGENTS_CACHE__RETRY_S="0.2",
        RAGENTS_CACHE__TIMEOUT_S="0.75",  # a busy machine may keep a good Redis waiting for longer than the default
        RAGENTS_EMBEDDINGS__BACKEND="hashing",
        RAGENTS_RAG__MIN_CONFIDENCE="0",
        RAGENTS_LLM__PROVIDER="openai",
        RAGENTS_LLM__BASE_URL=mock.url,
        RAGENTS_LLM__MODEL_NAME="mock",
        RAGENTS_SERVING__WORKERS="2",
        RAGENTS_SERVING__SAMPLE_DOCUMENTS=str(ROOT / "docs"),
    )


@contextmanager
def running(folder: Path, **options: str) -> Iterator[RedisServer]:
    folder.mkdir()
    server = RedisServer(folder, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def ask_all(server: Server, label: str, *, alike: bool = False) -> tuple[Counter[int], float]:
    """The statuses of CLIENTS questions at once, and the longest wait."""

    def ask(n: int) -> tuple[int, float]:
        began = time.monotonic()
        query = f"{EXACT} ({label}{'' if alike else n})"
        status = httpx.post(f"{server.url}/query", json={"query": query}, timeout=60).status_code
        return status, time.monotonic() - began

    with ThreadPoolExecutor(CLIENTS) as pool:
        found = list(pool.map(ask, range(CLIENTS)))
    return Counter(status for status, _ in found), max(seconds for _, seconds in found)


def health(server: Server) -> tuple[str, str | None]:
    body = httpx.get(f"{server.url}/health", timeout=20).json()
    return body["status"], body["components"]["cache"]["error"]


def up(server: Server) -> float:
    lines = httpx.get(f"{server.url}/metrics", timeout=20).text.splitlines()
    return min(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("rag_cache_up"))


def wait_until(server: Server, wanted: str) -> str | None:
    """What is said of the cache then; one of the workers is enough."""
    until = time.monotonic() + 40
    while (told := health(server))[0] != wanted:
        assert time.monotonic() < until, told
        time.sleep(0.05)
    return told[1]


def wait_until_ok(server: Server) -> None:
    """Both workers: health is asked until it has been good several times in a row."""
    good, until = 0, time.monotonic() + 40
    while good < 6:
        assert time.monotonic() < until, health(server)
        good = good + 1 if health(server)[0] == "ok" else 0
        time.sleep(0.1)


def test_workers_share_answers_and_their_statistics(server: Server) -> None:
    first = server.ask(EXACT)
    assert first["cached"] is None
    for _ in range(6):
        again = server.ask(EXACT)
        assert again["cached"] == "answer"
        assert again["answer"] == first["answer"]
        assert 0 <= float(str(again["cache_age_s"])) < 60
    layers = [httpx.get(f"{server.url}/cache/stats").json()["layers"]["answer"] for _ in range(4)]
    assert all(layer["hits"] == 6 for layer in layers), "whichever worker tells"
    assert layers[0]["entries"] == 1


def test_of_equal_questions_at_once_the_model_hears_one(server: Server, mock: MockLLM) -> None:
    for round_ in range(5):
        before, outages = mock.seen.begun, server.log.read_text().count("Redis is away")
        statuses, _ = ask_all(server, f"all alike {round_}", alike=True)
        assert statuses == {200: CLIENTS}
        if server.log.read_text().count("Redis is away") == outages:  # nor did 50 ms pass on a busy machine
            break
        wait_until_ok(server)
    assert mock.seen.begun == before + 1


def test_a_redis_that_is_gone_fails_no_question_and_is_used_again_when_it_is_back(
    server: Server, proxy: RedisProxy
) -> None:
    proxy.order(down=True)
    statuses, _ = ask_all(server, "gone")
    assert statuses == {200: CLIENTS}
    assert "Redis is away" in str(wait_until(server, "degraded"))
    assert up(server) == 0
    assert httpx.post(f"{server.url}/cache/clear", json={}).status_code == 503, "what was to go may still be there"
    proxy.order(down=False)
    wait_until_ok(server)
    server.ask(f"{EXACT} (back)")
    assert server.ask(f"{EXACT} (back)")["cached"] == "answer"


def test_a_redis_that_is_silent_or_slow_costs_little(server: Server, proxy: RedisProxy, redis: RedisServer) -> None:
    quick, longest = ask_all(server, "quick")
    assert quick == {200: CLIENTS}
    redis.stand_still()
    silent, while_silent = ask_all(server, "silent")
    redis.go_on()
    assert silent == {200: CLIENTS}
    wait_until_ok(server)
    proxy.order(delay_s=2.0)
    slow, while_slow = ask_all(server, "slow")
    wait_until(server, "degraded")
    proxy.order(delay_s=0.0)
    assert slow == {200: CLIENTS}
    assert max(while_silent, while_slow) < longest * 2 + 1
    wait_until_ok(server)


@pytest.mark.parametrize(("policy", "degraded"), [("noeviction", True), ("allkeys-lru", False)])
def test_a_redis_without_memory_left_fails_no_question(
    server: Server, proxy: RedisProxy, home: Path, policy: str, degraded: bool
) -> None:
    with ExitStack() as stack:
        stack.enter_context(running(home / f"redis-{policy}", maxmemory="1500kb", maxmemory_policy=policy))
        stack.callback(proxy.order, upstream=proxy.orders.upstream)
        proxy.order(upstream=str(home / f"redis-{policy}" / "redis.sock"))
        wait_until_ok(server)
        for n in range(3):
            statuses, _ = ask_all(server, f"{policy}{n} " + "long " * 400)
            assert statuses == {200: CLIENTS}
        if degraded:
            until = time.monotonic() + 60
            while "no memory left" not in str(health(server)[1]):  # of the worker that was refused
                assert time.monotonic() < until
                ask_all(server, f"{policy}{time.monotonic()} " + "long " * 400)
        else:
            wait_until_ok(server)
    wait_until_ok(server)
