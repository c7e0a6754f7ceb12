"""/metrics of a server with two workers is right, whichever of them answers; also after one of them was killed."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from benchmarks.mock_llm import MockLLM, open_mock_llm
from benchmarks.mock_llm.types import Script, Step
from tests.e2e.conftest import ROOT, Server, StartServer
from tests.scrape import Scraped, scrape

pytestmark = pytest.mark.timeout(300)
QUESTIONS = 12


@pytest.fixture(scope="module")
def mock() -> Iterator[MockLLM]:
    with open_mock_llm(Script(steps=[Step(content="It is so. [1]")])) as opened:
        yield opened


@pytest.fixture(scope="module")
def server(start_server: StartServer, mock: MockLLM) -> Server:
    return start_server(
        "metrics",
        RAGENTS_EMBEDDINGS__BACKEND="hashing",
        RAGENTS_RAG__MIN_CONFIDENCE="0",
        RAGENTS_LLM__PROVIDER="openai",
        RAGENTS_LLM__BASE_URL=mock.url,
        RAGENTS_LLM__MODEL_NAME="mock",
        RAGENTS_LLM__MAX_RETRIES="0",
        RAGENTS_LLM__TIMEOUT_S="6",
        RAGENTS_LLM__BREAKER_FAILURES="100",
        RAGENTS_LLM__PRICE__PROMPT="1",
        RAGENTS_LLM__PRICE__COMPLETION="2",
        RAGENTS_SERVING__WORKERS="2",
        RAGENTS_SERVING__SAMPLE_DOCUMENTS=str(ROOT / "docs"),
    )


@pytest.fixture(scope="module")
def asked(server: Server, mock: MockLLM) -> list[dict[str, object]]:
    """Each question twice, from new connections, so that both workers answer; two fail and one is none."""

    def ask(n: int) -> dict[str, object]:
        return server.ask(f"How is the store configured? ({n})", thread_id=f"metrics-thread-{n}")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(QUESTIONS)))
    # Without a thread: what was answered to a thread's first question is the answer to a new thread's.
    answers += [server.ask(f"How is the store configured? ({n})") for n in range(QUESTIONS)]
    mock.play(Step(fault="500"))
    for n in range(2):
        assert httpx.post(f"{server.url}/query", json={"query": f"new {n}"}, timeout=60).status_code == 503
    mock.play(Step(content="It is so. [1]"))
    assert httpx.post(f"{server.url}/query", json={"query": "x", "agent_type": "nobody"}).status_code == 400
    return answers


def until(server: Server, holds: Callable[[Scraped], bool], timeout_s: float = 20) -> Scraped:
    deadline = time.monotonic() + timeout_s
    while not holds(found := scrape(server.url)):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def workers(server: Server) -> set[int]:
    found = set()
    for process in psutil.Process(server.process.pid).children():
        with suppress(psutil.Error):  # one that was killed and is not replaced yet
            if "worker" in " ".join(process.cmdline()):
                found.add(process.pid)
    return found


def test_questions_count_by_outcome_over_both_workers(server: Server, asked: list[dict[str, object]]) -> None:
    found = scrape(server.url)
    assert found.sum("rag_queries_total", status="ok") == len(asked)
    assert found.sum("rag_queries_total", status="error") == 2, "the model failed"
    assert found.sum("rag_queries_total", status="invalid") == 1, "the caller's fault is no error of ours"
    by_layer = Counter(str(answer["cached"] or "none") for answer in asked)
    for layer, count in by_layer.items():
        assert found.sum("rag_query_duration_seconds_count", cached=layer) == count
    assert found.sum("rag_confidence_score_count") == len(asked)
    assert found.sum("rag_retrieved_docs_count_count") == len(asked)


def test_tokens_and_cost_are_the_sums_of_what_the_answers_say(server: Server, asked: list[dict[str, object]]) -> None:
    usages = [dict(answer["usage"]) for answer in asked if answer["cached"] is None]  # type: ignore[call-overload]
    found = scrape(server.url)
    assert usages
    assert found.sum("rag_tokens_total", kind="prompt") == sum(each["prompt_tokens"] for each in usages)
    assert found.sum("rag_tokens_total", kind="completion") == sum(each["completion_tokens"] for each in usages)
    assert found.sum("rag_cost_usd_total") == pytest.approx(sum(each["cost_usd"] for each in usages))


def test_the_hit_rate_of_a_layer_is_that_of_both_workers(server: Server, asked: list[dict[str, object]]) -> None:
    def all_counted(found: Scraped) -> bool:
        looked = found.sum("rag_cache_hits_total", layer="answer") + found.sum("rag_cache_misses_total", layer="answer")
        rate = found.sum("rag_cache_hits_total", layer="answer") / looked
        return abs(found.one("rag_cache_hit_rate", layer="answer") - rate) < 1e-9 and looked >= len(asked)

    found = until(server, all_counted)
    hits = sum(answer["cached"] == "answer" for answer in asked)
    assert found.sum("rag_cache_hits_total", layer="answer") == hits
    assert found.one("rag_cache_bytes", layer="answer") > 0


def test_threads_and_their_checkpoints_are_counted(server: Server, asked: list[dict[str, object]]) -> None:
    threads = {answer["thread_id"] for answer in asked}
    found = until(server, lambda found: found.sum("rag_active_threads") >= len(threads))
    assert found.sum("rag_active_threads") == len(threads), "each had one turn, in one worker"
    writes = found.sum("rag_checkpoint_writes_total", backend="postgres")
    assert writes >= 2 * len(threads)
    assert found.sum("rag_checkpoint_bytes_count") == writes
    assert found.sum("rag_checkpoint_bytes_sum") > 100 * writes


def test_connections_memory_and_disk_are_told(server: Server, asked: list[dict[str, object]]) -> None:
    found = scrape(server.url)
    assert found.sum("rag_db_pool_connections") == 2 * 10, "in use, idle and unopened: what two workers may have"
    assert 0 <= found.one("rag_db_pool_usage_ratio") <= 1
    assert 0 < found.one("rag_memory_used_bytes") < found.one("rag_memory_limit_bytes")
    assert 0 < found.one("rag_disk_used_bytes") < found.one("rag_disk_size_bytes")
    assert found.sum("rag_worker_starts_total") == 2
    assert found.sum("rag_ingested_chunks_total") > 0
    assert found.one("rag_ingest_chunks_per_second") == found.one("rag_ingest_running") == 0
    assert not found.named("rag_backup_last_success_timestamp_seconds"), "no stamp is configured"
    assert not found.named("rag_state_redis_evicted_keys"), "threads are on Postgres"
    stages = {sample.labels["stage"] for sample in found.named("rag_stage_duration_seconds_count")}
    assert {"queue", "embed", "retrieve", "generate"} <= stages <= {"queue", "embed", "retrieve", "rerank", "generate"}


def test_a_worker_that_was_killed_leaves_no_questions_in_flight(server: Server, mock: MockLLM, asked: object) -> None:
    mock.play(Step(fault="hang"))
    with ThreadPoolExecutor(8) as pool:

        def ask(n: int) -> None:
            with suppress(httpx.HTTPError):  # of those that the killed worker held
                httpx.post(f"{server.url}/query", json={"query": f"hanging {n}"}, timeout=30)

        for n in range(8):
            pool.submit(ask, n)
        until(server, lambda found: found.one("rag_in_flight") == 8)
        os.kill(min(workers(server)), signal.SIGKILL)
    mock.play(Step(content="It is so. [1]"))
    found = until(server, lambda found: found.sum("rag_worker_starts_total") == 3, timeout_s=60)
    found = until(server, lambda found: found.one("rag_in_flight") == 0)
    assert found.sum("rag_queries_total", status="ok") >= len(asked), "what it had counted is kept"  # type: ignore[arg-type]


def test_a_worker_that_dies_is_replaced_within_seconds(server: Server, asked: object) -> None:
    def replaced(killed: int, timeout_s: float) -> int:
        before = workers(server)
        os.kill(killed, signal.SIGKILL)
        deadline = time.monotonic() + timeout_s
        while not (new := workers(server) - before):
            assert time.monotonic() < deadline, "nobody has started another"
            time.sleep(0.05)
        return new.pop()

    successor = replaced(min(workers(server)), 20)
    # BentoML has just looked; left to itself it would look again 10 s later.
    successor = replaced(successor, 6)
    until(server, lambda found: found.sum("rag_worker_starts_total") == 4, timeout_s=60)


def test_another_server_of_the_same_home_leaves_the_metrics_of_this_one(
    start_server: StartServer, server: Server, asked: list[dict[str, object]]
) -> None:
    home = server.environment["BENTOML_HOME"]
    before = scrape(server.url).sum("rag_queries_total", status="ok")
    other = start_server("metrics-too", BENTOML_HOME=home, RAGENTS_EMBEDDINGS__BACKEND="hashing")
    assert httpx.get(f"{other.url}/health").status_code == 200
    assert scrape(server.url).sum("rag_queries_total", status="ok") == before >= len(asked)
    assert scrape(other.url).sum("rag_queries_total") == 0
    directories = set((Path(home) / "ragents-metrics").iterdir())
    assert other.stop() == 0
    left = set((Path(home) / "ragents-metrics").iterdir())
    assert (len(directories), len(left)) == (2, 1), "each had one; it goes with its server"
    assert scrape(server.url).sum("rag_queries_total", status="ok") == before
