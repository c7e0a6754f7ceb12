"""Each fault of a model's server, at each agent, over HTTP: a clear answer in bounded time, and the next one works."""

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from benchmarks.mock_llm import MockLLM
from benchmarks.mock_llm.types import Fault, Step, ToolCall
from tests.e2e.conftest import ROOT, Server, StartServer

AGENTS = ["simple", "langgraph", "logical", "react"]
PASSING: list[Fault] = ["429", "500", "503", "reset", "hang"]
"""Tried again."""
FINAL: list[Fault] = ["garbage", "empty", "hang_midway", "reset_midway", "garbage_midway"]
TOTAL_S, FIRST_S = 2.0, 0.8
QUESTION = {"query": "How is the store configured?", "use_cache": False}
SAID = "The store is configured so. [1]"
SEARCH = Step(tool_calls=[ToolCall(name="search_documents", arguments={"query": "How is the store configured?"})])
LONGEST_S = {"simple": 8.0, "react": 8.0, "langgraph": 18.0, "logical": 14.0}
"""An agent that asks its model for more than the answer waits for each of them."""


def answering(agent: str, fault: Fault | None = None) -> list[Step]:
    """react must have searched before it may answer."""
    return [*([SEARCH] if agent == "react" else []), Step(content=SAID, fault=fault)]


def settings(tmp: Path, **llm: Any) -> dict[str, str]:
    file = tmp / "settings.yaml"
    times = {"timeout_s": TOTAL_S, "first_token_timeout_s": FIRST_S, "max_retries": 1}
    values = {
        "llm": {"provider": "openai", "model_name": "mock", **times, **llm},
        "embeddings": {"backend": "hashing"},
        "rag": {"min_confidence": 0.0},
        "serving": {"sample_documents": str(ROOT / "docs")},
    }
    file.write_text(yaml.safe_dump(values))
    return {"RAGENTS_CONFIG": str(file)}


@pytest.fixture(scope="module")
def server(start_server: StartServer, mock: MockLLM, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """Without a fallback; its breaker never opens."""
    own = settings(tmp_path_factory.mktemp("faults"), base_url=mock.url, breaker_failures=10_000)
    return start_server("faults", **own)


def asked(server: Server, agent: str) -> tuple[int, dict[str, Any], float]:
    began = time.monotonic()
    response = httpx.post(f"{server.url}/query", json={**QUESTION, "agent_type": agent}, timeout=30)
    return response.status_code, response.json(), time.monotonic() - began


def failures(server: Server) -> dict[str, float]:
    """The kinds that there were."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    found = (line.rsplit(" ", 1) for line in lines if line.startswith("rag_llm_errors_total{"))
    return {name.split('kind="')[1].split('"')[0]: float(value) for name, value in found if float(value)}


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("fault", [*PASSING, *FINAL])
def test_a_model_that_always_fails(server: Server, mock: MockLLM, agent: str, fault: Fault) -> None:
    mock.play(Step(fault=fault))
    before = sum(failures(server).values())
    status, body, seconds = asked(server, agent)
    assert (status, body["code"]) == (503, "model_unavailable"), body
    assert "mock" in body["error"]
    assert "words of the server" not in body["error"]
    assert seconds < LONGEST_S[agent]
    assert sum(failures(server).values()) > before
    mock.play(Step(content=SAID))
    assert asked(server, agent)[0] == 200, "and the next question is answered"


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("fault", PASSING)
def test_a_model_that_fails_once_answers(server: Server, mock: MockLLM, agent: str, fault: Fault) -> None:
    mock.play(Step(fault=fault), *answering(agent))
    status, body, seconds = asked(server, agent)
    assert (status, body.get("answer")) == (200, SAID), body
    assert seconds < LONGEST_S[agent]


@pytest.mark.parametrize("agent", AGENTS)
def test_a_stream_without_its_last_line_is_an_answer(server: Server, mock: MockLLM, agent: str) -> None:
    mock.play(*answering(agent, "no_done"))
    assert asked(server, agent)[1]["answer"] == SAID


@pytest.mark.parametrize("fault", ["500", "hang", "reset_midway"])
def test_a_stream_says_that_its_model_failed(server: Server, mock: MockLLM, fault: Fault) -> None:
    mock.play(Step(fault=fault))
    with httpx.stream("POST", f"{server.url}/query/stream", json=QUESTION, timeout=30) as response:
        lines = list(response.iter_lines())
    last = lines.index("event: error")
    told = json.loads(next(line for line in lines[last:] if line.startswith("data: "))[6:])
    assert told["code"] == "model_unavailable"
    assert "event: done" not in lines


def test_the_breaker_opens_and_closes(
    start_server: StartServer, mock: MockLLM, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = settings(
        tmp_path_factory.mktemp("breaker"),
        base_url=mock.url,
        max_retries=0,
        breaker_failures=2,
        breaker_reset_s=5.0,
    )
    server = start_server("breaker", **own)
    mock.play(Step(fault="500"))
    for _ in range(2):
        assert "status 500" in asked(server, "simple")[1]["error"]
    status, body, _ = asked(server, "simple")
    assert (status, len(mock.seen.requests)) == (503, 2), "the third did not reach the model"
    assert "left alone after repeated failures (the last one: answered with status 500)" in body["error"]
    assert failures(server) == {"server_error": 2.0, "circuit_open": 1.0}
    mock.play(Step(fault="401"))
    deadline = time.monotonic() + 60
    while "left alone" in (told := asked(server, "simple")[1]["error"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "status 401" in told, "the one call that decides"
    mock.play(Step(content=SAID))
    while (status := asked(server, "simple")[0]) == 503:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert status == 200


def test_a_fallback_answers_under_its_own_name(
    start_server: StartServer, mock: MockLLM, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = settings(
        tmp_path_factory.mktemp("fallback"),
        base_url=mock.url,
        max_retries=0,
        fallbacks=[{"provider": "extractive"}],
    )
    server = start_server("fallback", **own)
    mock.play(Step(fault="500"))
    for agent in AGENTS:
        status, body, _ = asked(server, agent)
        assert (status, body["model"]) == (200, "extractive"), body
    assert failures(server)["server_error"] >= len(AGENTS)
