"""A server with two workers is used, and real Prometheus looks on: every panel of every dashboard has something to
show, and an alert reaches its receiver when it fires and when it is over.

The list of queries with their values is printed, and written to build/dashboard-values.md.
"""

import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from benchmarks.mock_llm import MockLLM, open_mock_llm
from benchmarks.mock_llm.types import Script, Step
from tests.deploy.observing import PROMETHEUS, Prometheus, alertmanager, prometheus, webhook
from tests.e2e.conftest import BENTOML, ROOT, Server, environment
from tests.ports import free_port
from tests.processes import wait_for
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(400)]

DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
VALUES = ROOT / "build" / "dashboard-values.md"
JOB = "ragents"
DOCUMENTS = 8
MOST_SAMPLES = 3_000
"""Of one server, however much it is asked: labels have bounded values."""
RAGENTS = [sys.executable, "-c", "from ragents.cli import main; main()"]
GOOD = Step(content="It is so, as the passage tells. [1]")
RATE_INTERVAL = "10m"
"""For $__rate_interval: so long that all that was done is in it."""


@dataclass(frozen=True, slots=True)
class Run:
    server: Server
    mock: MockLLM
    prometheus: Prometheus


@pytest.fixture(scope="module")
def mock() -> Iterator[MockLLM]:
    with open_mock_llm(Script(steps=[GOOD], first_token_s=0.05)) as opened:
        yield opened


@pytest.fixture(scope="module")
def redis(home: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """Of the cache and of threads."""
    servers = []
    try:
        for name in ("cache", "state"):
            (home / name).mkdir()
            servers.append(RedisServer(home / name, maxmemory="64mb"))
            servers[-1].start()
        yield servers[0], servers[1]
    finally:
        for server in servers:
            server.stop()


@pytest.fixture(scope="module")
def settings(home: Path, mock: MockLLM, redis: tuple[RedisServer, RedisServer]) -> dict[str, str]:
    (home / "stamp").touch()
    return {
        "RAGENTS_CACHE__BACKEND": "redis",
        "RAGENTS_CACHE__REDIS_URL": redis[0].url,
        "RAGENTS_CACHE__TIMEOUT_S": "0.5",
        "RAGENTS_CHECKPOINT__BACKEND": "redis",
        "RAGENTS_CHECKPOINT__REDIS_URL": redis[1].url,
        "RAGENTS_RAG__MIN_CONFIDENCE": "0",
        "RAGENTS_LLM__PROVIDER": "openai",
        "RAGENTS_LLM__BASE_URL": mock.url,
        "RAGENTS_LLM__MODEL_NAME": "mock",
        "RAGENTS_LLM__MAX_RETRIES": "0",
        "RAGENTS_LLM__BREAKER_FAILURES": "10000",
        "RAGENTS_LLM__PRICE__PROMPT": "10",
        "RAGENTS_LLM__PRICE__COMPLETION": "30",
        "RAGENTS_OBSERVABILITY__BACKUP_STAMP": str(home / "stamp"),
        "RAGENTS_SERVING__WORKERS": "2",
        "RAGENTS_SERVING__MAX_IN_FLIGHT": "4",
        "RAGENTS_SERVING__MAX_QUEUE": "4",
        "RAGENTS_SERVING__SAMPLE_DOCUMENTS": str(ROOT / "docs"),
    }


@pytest.fixture(scope="module")
def server(home: Path, settings: dict[str, str]) -> Iterator[Server]:
    server = Server([*BENTOML, "serve"], home / "monitored", **settings)
    try:
        yield server.wait_until_ready()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def run(home: Path, server: Server, mock: MockLLM, settings: dict[str, str]) -> Iterator[Run]:
    """What a day brings, in half a minute: questions new and old, conversations, a flood, failures, an ingestion."""
    port = free_port()
    targets = {JOB: [f"127.0.0.1:{server.port}"], "ragents-ingest": [f"127.0.0.1:{port}"]}
    with prometheus(home / "prometheus", targets, every="500ms") as looking:
        wait_for(lambda: looking.values(f'up{{job="{JOB}"}} == 1'), "a first scrape", 20)
        time.sleep(1.5)  # a second scrape: what comes now is an increase
        with ThreadPoolExecutor(24) as pool:
            for round_ in range(4):
                queries = [f"How is the store configured? ({n})" for n in range(round_ + 1, round_ + 5)]
                list(pool.map(lambda query: post(server, query), queries))
                list(pool.map(lambda n: post(server, f"And then? {n}", thread_id=f"thread-{n}"), range(3)))
                for agent in ("langgraph", "logical"):
                    post(server, f"What does a cache keep? {round_}", agent_type=agent)
                time.sleep(1)
                feedback(server, f"question-{round_}", round_ / 3)
            mock.play(GOOD, first_token_s=0.4)
            flood = list(pool.map(lambda n: post(server, f"flood {n}"), range(40)))
            assert {200, 429} <= set(flood), flood
            mock.play(Step(fault="500"))
            assert set(pool.map(lambda n: post(server, f"failing {n}"), range(3))) == {503}
            mock.play(GOOD)
        ingest(home, settings, port, looking)
        time.sleep(2)  # the last scrape, and the rules after it
        yield Run(server, mock, looking)


def post(server: Server, query: str, **fields: object) -> int:
    return httpx.post(f"{server.url}/query", json={"query": query, **fields}, timeout=60).status_code


def feedback(server: Server, request_id: str, score: float) -> None:
    body = {"request_id": request_id, "score": score}
    assert httpx.post(f"{server.url}/feedback", json=body, timeout=20).status_code == 200


def ingest(home: Path, settings: dict[str, str], port: int, looking: Prometheus) -> None:
    """By the command line, into the server's store, until Prometheus has seen chunks of it."""
    folder = home / "more"
    folder.mkdir()
    text = (ROOT / "docs" / "keys.md").read_text()
    for n in range(DOCUMENTS):
        (folder / f"{n}.md").write_text(f"# Copy {n}\n\n{text}")
    command = [*RAGENTS, "ingest", str(folder), "--metrics-port", str(port), "--json"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(home / "monitored", **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        stored = 'rag_ingested_chunks_total{job="ragents-ingest"} > 0'
        wait_for(lambda: looking.values(stored) or process.poll() is not None, "chunks", 60)
        seen = looking.values('rag_ingest_running{job="ragents-ingest"}')
        said, complaints = process.communicate(timeout=120)
        assert process.returncode == 0, complaints
        assert json.loads(said)["created"] == DOCUMENTS
        assert [value for _, value in seen] == [1.0]
    finally:
        process.kill()


def queries() -> list[tuple[str, str, str]]:
    """Dashboard, panel, query."""
    return [
        (file.stem, panel["title"], target["expr"])
        for file in DASHBOARDS
        for panel in json.loads(file.read_text())["panels"]
        for target in panel["targets"]
    ]


def test_every_query_of_every_panel_returns_data(run: Run) -> None:
    rows, empty = [], []
    for board, panel, query in queries():
        asked = query.replace("$__rate_interval", RATE_INTERVAL)
        found = [(labels, value) for labels, value in run.prometheus.values(asked) if not math.isnan(value)]
        rows.append(f"| {board} | {panel} | `{shown(asked)}` | {shown(told(found))} |")
        if not found:
            empty.append(f"{board}, {panel}: {asked}")
    text = "\n".join(["| dashboard | panel | query | values |", "|---|---|---|---|", *rows, ""])
    VALUES.parent.mkdir(exist_ok=True)
    VALUES.write_text(text)
    print(f"\n{text}")  # noqa: T201  # with -s: the list is what one wants to see
    assert not empty, "\n".join(empty)
    assert len(rows) > 60


def test_what_was_done_is_what_the_panels_show(run: Run) -> None:
    """Not only some value: the flood, the failures, the ingestion and the cost are in them."""

    def value(query: str) -> float:
        (found,) = run.prometheus.values(query)
        return found[1]

    assert value('sum(rag_queries_total{status="error"})') == 3
    assert value('sum(rag_queries_total{status="limited"})') == value("sum(rag_rate_limited_total)") > 0
    assert 0 < value("rag:queries_failed:ratio_rate5m") < 0.5
    assert 0 < value('rag:cache_hits:ratio_rate10m{layer="answer"}') < 1
    assert value("sum(increase(rag_cost_usd_total[5m]))") > 0
    assert value("max(rag_state_redis_memory_ratio)") > 0
    assert 0 <= value("time() - max(rag_backup_last_success_timestamp_seconds)") < 600
    assert value('sum(rag_llm_errors_total{kind="server_error"})') == 3
    assert value("count(up == 1)") >= 1
    assert value(f'max(max_over_time(scrape_samples_scraped{{job="{JOB}"}}[10m]))') < MOST_SAMPLES


def test_every_alert_s_expression_is_evaluated_without_an_error(run: Run) -> None:
    groups = httpx.get(f"{run.prometheus.url}/api/v1/rules", timeout=20).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) >= 39
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []


def test_an_alert_reaches_its_receiver_when_it_fires_and_when_it_is_over(
    home: Path, server: Server, mock: MockLLM, run: Run
) -> None:
    """The rules as shipped, with shorter times; Alertmanager's configuration as shipped, with another address."""
    rules = home / "quick.yml"
    rules.write_text(quick((PROMETHEUS / "rules.yml").read_text()))
    with (
        webhook() as received,
        alertmanager(home / "alertmanager", told_to(received.url)) as address,
        prometheus(
            home / "alerting", {JOB: [f"127.0.0.1:{server.port}"]}, rules=rules, alertmanager=address, every="500ms"
        ) as looking,
    ):
        wait_for(lambda: looking.values(f'up{{job="{JOB}"}} == 1'), "a first scrape", 20)
        mock.play(Step(fault="500"))

        def failing() -> Sequence[Any]:
            post(server, f"failing at {time.monotonic()}")
            return received.of("RAGentsErrorRate", "firing")

        wait_for(failing, "the alert", 60)
        (alert, *_) = received.of("RAGentsErrorRate", "firing")
        assert alert["labels"]["severity"] == "critical"
        assert "100%" in alert["annotations"]["description"]
        mock.play(GOOD)

        def well() -> Sequence[Any]:
            post(server, f"well at {time.monotonic()}")
            return received.of("RAGentsErrorRate", "resolved")

        wait_for(well, "the alert's end", 60)
        assert received.of("RAGentsErrorRate", "resolved")[0]["startsAt"] == alert["startsAt"]


def quick(rules: str) -> str:
    """Seconds where there were minutes, and fewer questions that a ratio wants."""
    rules = re.sub(r"for: \d+m", "for: 1s", rules)
    rules = re.sub(r"\[(5|10)m\]", "[8s]", rules)
    return rules.replace("rag:queries:increase5m >= 20", "rag:queries:increase5m >= 3")


def told_to(url: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())
    config["route"] |= {"group_wait": "200ms", "group_interval": "500ms"}
    config["receivers"][0]["webhook_configs"][0]["url"] = url
    return config


def told(found: Sequence[tuple[Any, float]]) -> str:
    values = [f"{' '.join(v for k, v in labels.items() if k not in HIDDEN)} {value:.4g}" for labels, value in found]
    return ", ".join(each.strip() for each in values[:4]) + (f", and {len(values) - 4} more" if len(values) > 4 else "")


HIDDEN = ("__name__", "job", "instance", "service_name", "service_version")


def shown(text: str) -> str:
    return text.replace("|", "\\|")
