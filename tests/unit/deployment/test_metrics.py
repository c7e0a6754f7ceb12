"""The parts of the metrics that a server's /metrics does not show by itself."""

import asyncio
import os
import uuid
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, multiprocess

from ragents.agents.checkpointing import CheckpointConfig, open_thread_state
from ragents.agents.types import AgentAnswer
from ragents.deployment.observability import workers
from ragents.deployment.observability.caches import CacheMetrics
from ragents.deployment.observability.ingesting import WINDOW_S as INGEST_WINDOW_S
from ragents.deployment.observability.ingesting import ChunkRate
from ragents.deployment.observability.machine import Room, container_memory, disk
from ragents.deployment.observability.metrics import STAGES, Outcome, get_metrics
from ragents.deployment.observability.server import ServerMetrics
from ragents.deployment.observability.threads import WINDOW_S, ActiveThreads
from ragents.errors import (
    DeadlineExceeded,
    InputError,
    ModelUnavailable,
    NotFound,
    Overloaded,
    RateLimited,
    ThreadBusy,
)
from ragents.llm.asked import asked_by
from ragents.rag.cache import CacheConfig, CacheScope, get_cache
from ragents.rag.cache.cache import LayerCounts
from ragents.rag.types import RAGResponse
from tests.redis_server import RedisServer


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ModelUnavailable("down"), "error"),
        (DeadlineExceeded("late"), "error"),
        (ZeroDivisionError(), "error"),
        (Overloaded("full"), "limited"),
        (RateLimited("slowly", retry_after_s=1), "limited"),
        (InputError("what?"), "invalid"),
        (NotFound("thread", "t"), "invalid"),
        (ThreadBusy("busy"), "invalid"),
        (asyncio.CancelledError(), "cancelled"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, BaseException) else each,
)
def test_only_our_side_s_faults_are_errors(error: BaseException, status: str) -> None:
    seen: list[Outcome] = []
    with pytest.raises(type(error)), get_metrics().query("simple", {"simple": None}) as outcome:
        seen.append(outcome)
        raise error
    assert seen[0].status == status
    assert seen[0].answer is None or isinstance(seen[0].answer, AgentAnswer)


def test_each_stage_of_an_answer_is_observed() -> None:
    def observed() -> dict[str, float]:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        name = "rag_stage_duration_seconds_count"
        return {stage: registry.get_sample_value(name, {"stage": stage}) or 0 for stage in STAGES}

    before = observed()
    timings = {"embed_ms": 1.0, "retrieve_ms": 2.0, "rerank_ms": 3.0, "generate_ms": 4.0, "unheard_of_ms": 5.0}
    response = RAGResponse(query="q", sources=(), confidence=0.5, answer="a", model="m", timings=timings)
    with get_metrics().query("simple", {"simple": None}) as outcome:
        outcome.answer = AgentAnswer("a-thread", "simple", response)
    assert observed() == {stage: count + 1 for stage, count in before.items()}


def test_a_thread_counts_once_and_no_longer_than_its_window() -> None:
    clock = Clock()
    active = ActiveThreads(clock=clock)
    for thread in ("a", "b", "a"):
        active.saw(thread)
    assert active.count() == 2
    clock.now += WINDOW_S - 1
    active.saw("b")
    clock.now += 2
    assert active.count() == 1, "a's last turn is too long ago"


def test_the_threads_that_are_remembered_are_bounded() -> None:
    active = ActiveThreads(most=100, clock=Clock())
    for n in range(10_000):
        active.saw(f"thread-{n}")
    assert active.count() == len(active._seen) == 100


def test_the_rate_of_an_ingestion_falls_when_nothing_more_is_stored() -> None:
    clock = Clock()
    rate = ChunkRate(clock=clock)
    rate.begin()
    rate.note(50)
    assert rate.per_second() == 50, "within its first second"
    clock.now += 10
    rate.note(150)
    assert rate.per_second() == 20
    clock.now += INGEST_WINDOW_S - 5
    assert rate.per_second() == 150 / INGEST_WINDOW_S
    clock.now += 10
    assert rate.per_second() == 0


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_a_container_s_memory_is_its_own_without_pages_that_can_be_dropped(tmp_path: Path) -> None:
    write(
        tmp_path,
        memory__current="700\n",
        memory__max="1000\n",
        memory__stat="anon 400\ninactive_file 300\nactive_file 1\n",
    )
    found = container_memory(tmp_path)
    assert found is not None
    assert found.room() == Room(400, 1000)
    write(tmp_path, memory__max="max\n")
    assert container_memory(tmp_path) is None, "no limit"


def test_the_older_kind_of_cgroup_is_read_too(tmp_path: Path) -> None:
    write(
        tmp_path / "memory",
        memory__usage_in_bytes="700\n",
        memory__limit_in_bytes="1000\n",
        memory__stat="cache 3\ntotal_inactive_file 100\n",
    )
    found = container_memory(tmp_path)
    assert found is not None
    assert found.room() == Room(600, 1000)
    write(tmp_path / "memory", memory__limit_in_bytes="9223372036854771712\n")
    assert container_memory(tmp_path) is None, "no limit"


def test_a_machine_without_cgroups_has_no_container(tmp_path: Path) -> None:
    assert container_memory(tmp_path / "nothing") is None
    assert disk(tmp_path / "nothing") is None
    assert disk(tmp_path) is not None


def test_gauges_of_processes_that_are_gone_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(workers.VARIABLE, str(tmp_path))
    gone = 2**22 + 1  # beyond the largest pid of Linux
    kept = [f"gauge_livesum_{os.getpid()}.db", f"counter_{gone}.db", f"gauge_max_{gone}.db"]
    for name in (*kept, f"gauge_livesum_{gone}.db", f"gauge_livemax_{gone}.db"):
        (tmp_path / name).touch()
    assert workers.bury_the_dead() == [gone]
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(kept)


def test_a_backup_that_never_succeeded_is_as_old_as_can_be(tmp_path: Path) -> None:
    class Told:
        value = -1.0

        def set(self, value: float) -> None:
            self.value = value

    server = ServerMetrics.__new__(ServerMetrics)
    server.__dict__["_backup"] = told = Told()
    server.backup(tmp_path / "stamp")
    assert told.value == 0
    (tmp_path / "stamp").touch()
    os.utime(tmp_path / "stamp", (1_700_000_000, 1_700_000_000))
    server.backup(tmp_path / "stamp")
    assert told.value == 1_700_000_000


async def test_a_redis_of_state_says_what_it_threw_away(tmp_path: Path) -> None:
    """Its settings were changed after the service had started, which refuses such a server."""
    redis = RedisServer(tmp_path)
    redis.start()
    try:
        config = CheckpointConfig.model_validate({"backend": "redis", "redis_url": redis.url})
        async with open_thread_state(config) as state:
            assert state.memory is not None
            before = await state.memory()
            assert (before.evicted_keys, before.may_evict, before.fullest) == (0, False, 0.0)
            client = state.saver._server.client  # type: ignore[attr-defined]
            used = int((await client.info("memory"))["used_memory"])
            await client.config_set("maxmemory", used + 200_000)
            await client.config_set("maxmemory-policy", "allkeys-lru")
            for n in range(300):
                await client.set(f"key-{n}", "x" * 2_000)
            after = await state.memory()
            assert after.may_evict
            assert after.evicted_keys > 0
            assert 0.5 < after.fullest < 1.1
    finally:
        redis.stop()


@pytest.mark.parametrize("backend", ["postgres", "redis"])
async def test_what_is_stored_of_threads_is_told_with_its_bytes(backend: str, migrated: str, redis_url: str) -> None:
    from langgraph.checkpoint.base import empty_checkpoint

    told: list[tuple[str, int]] = []
    config = CheckpointConfig.model_validate(
        {"backend": backend, "postgres_url": migrated, "redis_url": redis_url, "enable_compression": False}
    )
    async with open_thread_state(config, on_write=lambda *what: told.append(what)) as state:
        where = {"configurable": {"thread_id": f"told-{backend}", "checkpoint_ns": "", "tenant": "metrics"}}
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"], checkpoint["channel_versions"] = {"text": "x" * 5000}, {"text": "1"}
        stored = await state.saver.aput(where, checkpoint, {"step": 1}, {"text": "1"})  # type: ignore[arg-type, typeddict-item]
        await state.saver.aput_writes(stored, [("text", "y" * 700)], "task")
    assert [name for name, _ in told] == [backend, backend]
    assert 5000 < told[0][1] < 7000
    assert 700 < told[1][1] < 900


def test_a_new_cache_counts_from_its_own_beginning() -> None:
    """One process may open several in its life: tests do, and programs that embed the service."""
    caches = get_metrics().caches
    layer = "a-layer-of-this-test"

    def hits() -> float:
        return workers.counted_by_all("rag_cache_hits_total", "layer").get(layer, 0.0)

    caches.counted({layer: LayerCounts(hits=5, misses=1)})
    caches.counted({layer: LayerCounts(hits=7, misses=1)})
    assert hits() == 7
    caches.counted({layer: LayerCounts(hits=2, misses=0)})
    assert hits() == 9


@pytest.mark.parametrize("backend", ["memory", "redis"])
async def test_what_the_metrics_say_of_each_layer_is_what_its_statistics_say(
    backend: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, layers = CollectorRegistry(), ("embedding", "retrieval", "query_rewrite", "answer")
    caches = CacheMetrics(registry)  # of its own: the process's count what the services of other tests did
    caches.counted({layer: LayerCounts() for layer in layers})  # reads what the process's file of metrics has
    monkeypatch.setattr(workers, "several", lambda: False)
    url = request.getfixturevalue("redis_url") if backend == "redis" else "redis://nowhere"
    settings = {"backend": backend, "redis_url": url, "namespace": f"t{uuid.uuid4().hex}", "timeout_s": 5}
    cache = get_cache(CacheConfig.model_validate({**settings, "max_cache_size_mb": 0.02}))

    def told(name: str) -> dict[str, float]:
        return {layer: registry.get_sample_value(name, {"layer": layer}) or 0.0 for layer in layers}

    counters = {name: told(f"rag_cache_{name}_total") for name in ("hits", "misses", "evictions")}
    for n in range(40):
        scope, text = CacheScope(f"tenant {n % 3}"), str(n // 2)
        with asked_by(scope.tenant, read_along=False):
            await cache.put_many({text: np.ones(8, np.float32)})
            await cache.get_many([text, "another"])
        await cache.cache_answer(text, RAGResponse(text), scope=scope)
        await cache.cache_retrieval(text, RAGResponse(text), 5, scope=scope)
        await cache.cache_rewrite(text, ["r"], scope=scope)
        for other in (scope, CacheScope("another")):
            await cache.get_answer(text, scope=other)
            await cache.get_retrieval(text, 5, scope=other)
            await cache.get_rewrite(text, scope=other)
    key = cache._key_of("answer", text, scope)
    await cache._backend.set(key, b"\x01damaged", 100)
    assert await cache.get_answer(text, scope=scope) is None
    await caches.look(cache)
    stats = await cache.stats()
    for name, before in counters.items():
        after = told(f"rag_cache_{name}_total")
        counted = {layer: after[layer] - before[layer] for layer in layers}
        assert counted == {layer: getattr(stats[layer], name) for layer in layers}, name
        assert all(counted.values()), name
    assert told("rag_cache_hit_rate") == {layer: stats[layer].hit_rate for layer in layers}
    assert told("rag_cache_bytes") == {layer: stats[layer].bytes for layer in layers}
    await cache.clear()
    await cache.close()


def test_outcomes_and_reasons_are_there_before_they_happen() -> None:
    get_metrics().expect(["an-agent-of-this-test"])
    found = workers.counted_by_all("rag_queries_total", "agent_type")
    assert found["an-agent-of-this-test"] == 0
    assert {"queue_full", "queue_timeout", "deadline"} <= set(
        workers.counted_by_all("rag_rate_limited_total", "reason")
    )
