"""Over HTTP: an answer that its model did not finish is an error or says so, and is never kept."""

import json
from typing import Any

import httpx
import pytest
import yaml

from benchmarks.mock_llm import MockLLM
from benchmarks.mock_llm.types import Fault, Step
from tests.e2e.conftest import ROOT, Server, StartServer

SAID = "The store is configured so. [1]"


@pytest.fixture(scope="module")
def server(start_server: StartServer, mock: MockLLM, tmp_path_factory: pytest.TempPathFactory) -> Server:
    file = tmp_path_factory.mktemp("endings") / "settings.yaml"
    values = {
        "llm": {"provider": "openai", "model_name": "mock", "base_url": mock.url, "breaker_failures": 10_000},
        "embeddings": {"backend": "hashing"},
        "rag": {"min_confidence": 0.0},
        "serving": {"sample_documents": str(ROOT / "docs")},
    }
    file.write_text(yaml.safe_dump(values))
    return start_server("endings", RAGENTS_CONFIG=str(file))


def chat(question: str, *, stream: bool) -> dict[str, Any]:
    return {"model": "simple", "messages": [{"role": "user", "content": question}], "stream": stream}


def streamed(server: Server, path: str, body: dict[str, Any]) -> list[Any]:
    """The data of each event, as JSON where it is some."""
    with httpx.stream("POST", f"{server.url}{path}", json=body, timeout=30) as response:
        data = [line[6:] for line in response.iter_lines() if line.startswith("data: ")]
    return [each if each == "[DONE]" else json.loads(each) for each in data]


@pytest.mark.parametrize("fault", ["end_midway", "no_reason", "empty"])
def test_a_stream_that_ends_too_early_is_an_error_and_not_kept(server: Server, mock: MockLLM, fault: Fault) -> None:
    question = f"How is the store configured after {fault}?"
    mock.play(Step(fault=fault))
    assert streamed(server, "/query/stream", {"query": question})[-1]["code"] == "model_unavailable"
    assert streamed(server, "/v1/chat/completions", chat(question, stream=True))[-1]["error"]["code"]
    mock.play(Step(content=SAID))
    first, second = (server.ask(question) for _ in range(2))
    assert (first["answer"], first["cached"], second["cached"]) == (SAID, None, "answer")


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_an_answer_that_was_cut_short_says_so_and_is_not_kept(server: Server, mock: MockLLM, reason: str) -> None:
    question = f"How is the store configured at {reason}?"
    mock.play(Step(content="The store [1]", finish_reason=reason))
    done = streamed(server, "/query/stream", {"query": question})[-1]
    whole = server.ask(question)
    for answer in (done, whole):
        assert (answer["finish_reason"], answer["cached"]) == (reason, None)
        assert "the answer is cut short" in str(answer["notes"])
    completed = httpx.post(f"{server.url}/v1/chat/completions", json=chat(question, stream=False), timeout=30).json()
    assert completed["choices"][0]["finish_reason"] == reason
    *_, last, end = streamed(server, "/v1/chat/completions", chat(question, stream=True))
    assert (last["choices"][0]["finish_reason"], end) == (reason, "[DONE]")


def test_an_answer_that_cites_nothing_has_no_confidence_and_a_note(server: Server, mock: MockLLM) -> None:
    mock.play(Step(content="It is certainly 99 days."))
    answer = server.ask("How long is the store configured?")
    assert (answer["confidence"], answer["citations"], answer["finish_reason"]) == (0.0, [], "stop")
    assert answer["notes"] == ["the answer cites no passage: what it rests on is not shown"]


def test_what_is_computed_from_the_question_alone_is_certain(server: Server) -> None:
    answer = server.ask("How many days lie between 1990-01-01 and 2022-08-23?", agent_type="logical")
    assert (answer["answer"], answer["confidence"]) == ("Between them lie 11922 days.", 1.0)
