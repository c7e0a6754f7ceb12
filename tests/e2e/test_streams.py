"""Streams on real sockets: who hangs up ends the model's work, and who comes back goes on, also at another worker."""

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.mock_llm import MockLLM, open_mock_llm
from benchmarks.mock_llm.types import Script, Step
from tests.e2e.conftest import Server, StartServer

WORDS = " ".join(f"word{n} [1][9]" for n in range(100))
QUESTION = {"query": "How is the cache configured?", "use_cache": False}


@pytest.fixture(scope="module")
def upstream() -> Iterator[MockLLM]:
    with open_mock_llm(Script(steps=[Step(content=WORDS)], between_tokens_s=0.02)) as opened:
        yield opened


def settings(upstream: MockLLM) -> dict[str, str]:
    return {
        "RAGENTS_LLM__PROVIDER": "openai",
        "RAGENTS_LLM__BASE_URL": upstream.url,
        "RAGENTS_LLM__MODEL_NAME": "m",
        "RAGENTS_LLM__API_KEY": "none",
        "RAGENTS_EMBEDDINGS__BACKEND": "hashing",
        "RAGENTS_RAG__MIN_CONFIDENCE": "0",
    }


def events(response: httpx.Response) -> Iterator[tuple[int, str, Any]]:
    number, name = 0, ""
    for line in response.iter_lines():
        key, _, value = line.partition(": ")
        match key:
            case "id":
                number = int(value)
            case "event":
                name = value
            case "data":
                yield number, name, json.loads(value)


@pytest.fixture(scope="module")
def hasty(start_server: StartServer, upstream: MockLLM) -> Server:
    """Without grace."""
    return start_server("streams", **settings(upstream))


@pytest.mark.parametrize("agent_type", ["simple", "langgraph", "react", "logical"])
@pytest.mark.parametrize("path", ["/query/stream", "/v1/chat/completions"])
def test_a_client_that_hangs_up_ends_the_call_of_the_model(
    hasty: Server, upstream: MockLLM, path: str, agent_type: str
) -> None:
    begun, hung_up = upstream.seen.begun, upstream.seen.hung_up
    body: dict[str, Any] = {**QUESTION, "agent_type": agent_type}
    if path.startswith("/v1"):
        body = {"model": agent_type, "stream": True, "messages": [{"role": "user", "content": QUESTION["query"]}]}
    with httpx.stream("POST", f"{hasty.url}{path}", json=body, timeout=20) as response:
        assert response.status_code == 200
        assert upstream.wait_for("begun", begun + 1)
    assert upstream.wait_for("hung_up", hung_up + 1), "left to itself it would have ended"
    assert hasty.ask("How is the store configured?", agent_type="logical")["answer"], "and the server goes on"


def test_tokens_come_one_by_one_and_markers_of_nothing_never(hasty: Server, upstream: MockLLM) -> None:
    with httpx.stream("POST", f"{hasty.url}/query/stream", json=QUESTION, timeout=20) as response:
        ended, told = upstream.seen.ended, ""
        for _, name, data in events(response):
            if name == "token":
                told += data["text"]
            if "word5 [1]" in told:
                break
        assert upstream.seen.ended == ended, "not when the whole is there"
    assert told.startswith("word0 [1] word1 [1]")


def test_who_comes_back_goes_on_at_any_worker_without_a_second_run(
    start_server: StartServer, upstream: MockLLM
) -> None:
    server = start_server(
        "grace", **settings(upstream), RAGENTS_SERVING__RESUME_GRACE_S="10", RAGENTS_SERVING__WORKERS="2"
    )
    for attempt in range(3):  # the balancing of two workers is the kernel's: some of these come to the other one
        begun, ended, run = upstream.seen.begun, upstream.seen.ended, str(uuid.uuid4())
        with httpx.stream(
            "POST", f"{server.url}/query/stream", json=QUESTION, headers={"X-Request-ID": run}, timeout=20
        ) as response:
            seen = []
            for each in events(response):
                seen.append(each)
                if len(seen) == 5 + attempt:
                    break
        time.sleep(0.5)  # what a client needs to find out and to connect again; the log has it by then
        with httpx.stream(
            "GET", f"{server.url}/runs/{run}/events", headers={"Last-Event-ID": str(seen[-1][0])}, timeout=30
        ) as response:
            assert response.status_code == 200
            seen += list(events(response))
        assert [number for number, _, _ in seen] == list(range(1, len(seen) + 1))
        told = "".join(data["text"] for _, name, data in seen if name == "token")
        assert seen[-1][1] == "done"
        assert told == seen[-1][2]["answer"]
        assert (upstream.seen.begun, upstream.seen.ended) == (begun + 1, ended + 1)


def test_a_run_that_nobody_comes_back_for_is_not_found(hasty: Server, tmp_path: Path) -> None:
    response = httpx.get(f"{hasty.url}/runs/{uuid.uuid4()}/events")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
