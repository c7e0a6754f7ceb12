"""The rate limits over HTTP: what is refused, what is told, and what is given back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import redis

from ragents.deployment.callers import Caller
from ragents.deployment.rate_limiting import Priority, RateLimitConfig, RateLimiter
from ragents.errors import ModelUnavailable
from ragents.principal import Principal
from tests.redis_server import RedisServer
from tests.service.test_errors import check

QUESTION = {"query": "Where does batching sit?"}
Limit = Callable[..., RateLimiter]


@pytest.fixture
def limit(asgi: object, monkeypatch: pytest.MonkeyPatch) -> Limit:
    """Give the service other limits for the time of a test."""
    from ragents.deployment.bentoml_service import _state

    def set_limits(**settings: Any) -> RateLimiter:
        slow = {"requests_per_minute": 1}  # nothing comes back while a test runs
        limiter = RateLimiter(RateLimitConfig(enabled=True, **(slow | settings)))
        monkeypatch.setattr(_state.questions._limiting, "_limiter", limiter)
        return limiter

    return set_limits


async def test_the_question_over_the_limit_is_429_with_all_headers(client: httpx.AsyncClient, limit: Limit) -> None:
    limit(requests_per_minute=2, requests_per_hour=100, burst_size=2)
    first = await client.post("/query", json=QUESTION)
    assert first.status_code == 200
    assert first.headers["ratelimit-policy"] == '"minute";q=2;w=60, "hour";q=100;w=3600'
    assert first.headers["ratelimit"] == '"minute";r=1;t=30, "hour";r=99;t=36'
    await client.post("/query", json=QUESTION)
    refused = await client.post("/query", json=QUESTION)
    check(refused, 429, "rate_limited", "2, 2 at once", "try again in")
    assert 20 <= int(refused.headers["retry-after"]) <= 30
    assert refused.headers["ratelimit"].startswith('"minute";r=0;t=60')


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/query", QUESTION),
        ("/query/stream", QUESTION),
        ("/api/v1/query", QUESTION),
        ("/v1/chat/completions", {"model": "simple", "messages": [{"role": "user", "content": "batching?"}]}),
    ],
)
async def test_every_way_of_asking_counts(
    client: httpx.AsyncClient, limit: Limit, path: str, body: dict[str, Any]
) -> None:
    limit(burst_size=1)
    assert [(await client.post(path, json=body)).status_code for _ in range(2)] == [200, 429]


async def test_each_item_of_a_batch_counts(client: httpx.AsyncClient, limit: Limit) -> None:
    limit(burst_size=2)
    response = await client.post("/query/batch", json={"requests": [QUESTION] * 3})
    assert sorted(each.get("code", "answer") for each in response.json()["results"]) == [
        "answer",
        "answer",
        "rate_limited",
    ]


async def test_a_batch_over_the_limit_says_when_to_ask_again(client: httpx.AsyncClient, limit: Limit) -> None:
    limit(burst_size=1)
    response = await client.post("/query/batch", json={"requests": [QUESTION] * 2})
    (refused,) = [each for each in response.json()["results"] if each.get("code")]
    assert 50 <= refused["retry_after_s"] <= 60
    assert response.headers["retry-after"] == str(refused["retry_after_s"])
    mistake = await client.post("/query/batch", json={"requests": [{"query": ""}]})
    assert mistake.json()["results"][0]["retry_after_s"] is None
    assert "retry-after" not in mistake.headers


async def test_a_long_wait_is_told_in_hours(client: httpx.AsyncClient, limit: Limit) -> None:
    limit(requests_per_minute=60, requests_per_hour=1, burst_size=12, replicas=6)
    await client.post("/query", json=QUESTION)
    refused = await client.post("/query", json=QUESTION)
    check(refused, 429, "rate_limited", "requests per hour (1", "try again in 6 h")
    assert int(refused.headers["retry-after"]) > 5 * 3600


async def test_reading_does_not_count(client: httpx.AsyncClient, limit: Limit) -> None:
    limit(burst_size=1)
    for path in ("/agents", "/health", "/cache/stats", "/api/v1/documents") * 3:
        response = await client.get(path)
        assert response.status_code == 200
        assert "ratelimit" not in response.headers


async def test_the_keyless_caller_on_this_machine_has_no_limits_unless_set(client: httpx.AsyncClient) -> None:
    responses = [await client.post("/query", json=QUESTION) for _ in range(15)]
    assert {response.status_code for response in responses} == {200}
    assert "ratelimit" not in responses[0].headers


async def test_a_question_that_fails_on_our_side_is_given_back(
    client: httpx.AsyncClient, limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragents.llm.client import LLMClient

    async def down(*_: object, **__: object) -> None:
        raise ModelUnavailable("main: timed out")

    limit(burst_size=1)
    with monkeypatch.context() as broken:
        broken.setattr(LLMClient, "generate", down)
        assert (await client.post("/query", json={**QUESTION, "use_cache": False})).status_code == 503
    assert (await client.post("/query", json=QUESTION)).status_code == 200


async def test_a_caller_s_mistake_counts(client: httpx.AsyncClient, limit: Limit) -> None:
    limit(burst_size=1)
    assert (await client.post("/query", json={**QUESTION, "agent_type": "magic"})).status_code == 400
    assert (await client.post("/query", json=QUESTION)).status_code == 429


async def test_a_question_that_is_cancelled_frees_its_place(
    client: httpx.AsyncClient, limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragents.deployment.bentoml_service import _state
    from ragents.deployment.schemas import QueryRequest

    begun = asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    limit(concurrent_requests=1)
    with monkeypatch.context() as slow:
        slow.setattr(_state.app.store, "collection", hang)
        asking = asyncio.create_task(_state.questions.query(QueryRequest.model_validate(QUESTION)))
        await begun.wait()
        check(await client.post("/query", json=QUESTION), 429, "rate_limited", "at the same time (1)")
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert (await client.post("/query", json=QUESTION)).status_code == 200


@pytest.mark.parametrize(("begun", "status"), [(True, 429), (False, 200)])
async def test_a_question_that_is_hung_up_on_counts_from_when_it_is_being_answered(
    client: httpx.AsyncClient, limit: Limit, monkeypatch: pytest.MonkeyPatch, begun: bool, status: int
) -> None:
    """Else whoever hangs up at the last word of a stream would have no limits."""
    from ragents.deployment.bentoml_service import _state
    from ragents.deployment.schemas import QueryRequest

    reached = asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    @asynccontextmanager
    async def full(*_: object, **__: object) -> AsyncIterator[float]:
        await hang()
        yield 0.0

    limit(burst_size=1, tokens_per_minute=1000, reserve_tokens=1000)
    with monkeypatch.context() as slow:
        if begun:
            slow.setattr(_state.app.store, "collection", hang)
        else:
            slow.setattr(_state.questions._admission, "admit", full)
        asking = asyncio.create_task(_state.questions.query(QueryRequest.model_validate(QUESTION)))
        await reached.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert (await client.post("/query", json=QUESTION)).status_code == status


async def test_the_tokens_that_were_used_are_what_counts(client: httpx.AsyncClient, limit: Limit) -> None:
    limit(tokens_per_minute=10_000, reserve_tokens=9000, burst_size=5)
    for _ in range(3):  # the extractive model uses none
        assert (await client.post("/query", json={**QUESTION, "use_cache": False})).status_code == 200


async def test_refusals_are_counted_by_reason(client: httpx.AsyncClient, limit: Limit) -> None:
    limit(burst_size=1)
    for _ in range(2):
        await client.post("/query", json=QUESTION)
    text = (await client.get("/metrics")).text
    assert 'rag_rate_limited_total{reason="minute"}' in text
    assert "rag_rate_limit_local_share 0.0" in text


async def test_without_redis_questions_go_on_and_health_says_so(
    client: httpx.AsyncClient, limit: Limit, monkeypatch: pytest.MonkeyPatch, own_redis: RedisServer
) -> None:
    from ragents.deployment.bentoml_service import _state

    own_redis.stop()
    limiter = limit(redis_url=own_redis.url, burst_size=4, replicas=2)
    await limiter.initialize()
    monkeypatch.setattr(_state.health, "_app", _WithLimiter(_state.app, limiter))
    monkeypatch.setattr(_state.health, "_checked_at", float("-inf"))
    answers = [await client.post("/query", json=QUESTION) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    # What is told is the share: one of a minute comes back in two, and two are held.
    assert answers[0].headers["ratelimit-policy"].startswith('"minute";q=1;w=120')
    assert answers[0].headers["ratelimit"].startswith('"minute";r=1;t=120')
    assert "of which this process gives 1/2" in answers[2].json()["error"]
    health = (await client.get("/health")).json()
    assert health["status"] == "degraded"
    assert "1/2 of each limit in this process" in health["components"]["limits"]["error"]
    assert "rag_rate_limit_local_share 1.0" in (await client.get("/metrics")).text
    own_redis.start()
    await limiter.check()
    _state.questions.observe()  # as every few seconds, also while nobody asks
    assert "rag_rate_limit_local_share 0.0" in (await client.get("/metrics")).text
    monkeypatch.setattr(_state.health, "_checked_at", float("-inf"))
    health = (await client.get("/health")).json()
    assert health["components"]["limits"]["detail"] == "redis; 2 processes"
    await limiter.close()
    monkeypatch.undo()
    _state.health._checked_at = float("-inf")


class _WithLimiter:
    def __init__(self, app: object, limiter: RateLimiter) -> None:
        self._app, self.limiter = app, limiter

    def __getattr__(self, name: str) -> object:
        return getattr(self._app, name)


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("r"))
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("trouble", ["stopped", "hangs", "full", "evicts"])
async def test_whatever_happens_to_redis_fifty_clients_get_answers_or_429_and_it_heals(
    client: httpx.AsyncClient, limit: Limit, own_redis: RedisServer, trouble: str
) -> None:
    limiter = limit(redis_url=own_redis.url, requests_per_minute=60_000, burst_size=1000, retry_s=0.2)
    await limiter.initialize()
    statuses: list[int] = []
    ended = asyncio.Event()

    async def ask(n: int) -> None:
        while not ended.is_set():
            response = await client.post("/query", json=QUESTION)
            statuses.append(response.status_code)
            await asyncio.sleep(0.05)

    asking = [asyncio.create_task(ask(n)) for n in range(50)]
    await asyncio.sleep(0.2)
    match trouble:
        case "stopped":
            own_redis.stop()
        case "hangs":
            own_redis.stand_still()
        case "full":
            _configure(own_redis, maxmemory="1")
        case "evicts":
            _configure(own_redis, maxmemory="4mb", maxmemory_policy="allkeys-random")
            _fill(own_redis, megabytes=8)
    async with asyncio.timeout(20):
        while trouble != "evicts" and not limiter.degraded:
            await asyncio.sleep(0.02)
    async with asyncio.timeout(20):
        before = statuses.count(200)
        while statuses.count(200) < before + 60:
            await asyncio.sleep(0.02)
    match trouble:
        case "stopped":
            own_redis.start()
        case "hangs":
            own_redis.go_on()
        case "full":
            _configure(own_redis, maxmemory="0")
    ended.set()
    await asyncio.gather(*asking)
    async with asyncio.timeout(20):
        while limiter.degraded:
            assert (await client.post("/query", json=QUESTION)).status_code == 200
            await asyncio.sleep(0.05)
    await limiter.close()
    assert set(statuses) <= {200, 429}


def _configure(server: RedisServer, **settings: str) -> None:
    with redis.Redis.from_url(server.url) as connection:
        for name, value in settings.items():
            connection.config_set(name.replace("_", "-"), value)


def _fill(server: RedisServer, *, megabytes: int) -> None:
    with redis.Redis.from_url(server.url) as connection:
        for n in range(megabytes * 10):
            connection.set(f"junk {n}", b"x" * 100_000)
        assert connection.info("stats")["evicted_keys"] > 0


async def test_a_key_s_maximum_caps_what_a_request_asks_for(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragents.deployment.bentoml_service import _state

    asked: list[Priority] = []
    admit = _state.questions._admission.admit

    def seen(priority: Priority, **rest: Any) -> Any:
        asked.append(priority)
        return admit(priority, **rest)

    async def caller(_: object) -> Caller:
        return Caller(Principal(), "k", max_priority=Priority.NORMAL)

    monkeypatch.setattr(_state.questions._admission, "admit", seen)
    monkeypatch.setattr(client._transport.app, "_admit", caller)
    for priority in Priority:
        await client.post("/query", json={**QUESTION, "priority": priority.value})
    assert asked == [Priority.NORMAL, Priority.NORMAL, Priority.NORMAL, Priority.LOW]
