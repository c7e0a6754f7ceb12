"""One question through three processes: the service, its encoder and a model's server, in one trace."""

import time
from collections.abc import Iterator

import httpx
import pytest

from benchmarks.mock_llm import MockLLM, open_mock_llm
from tests.e2e.conftest import StartServer
from tests.otlp import ReceivedSpan, Receiver, open_receiver

CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = {"traceparent": f"00-{CALLER}-00f067aa0ba902b7-01"}
SERVICES = {"ragents", "ragents-encoder", "mock-llm"}
SECRET = "Zwetschgenkuchen"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with open_receiver() as opened:
        yield opened


@pytest.fixture
def mock(receiver: Receiver) -> Iterator[MockLLM]:
    with open_mock_llm(otlp=f"{receiver.url}/v1/traces") as opened:
        yield opened


def test_a_question_is_one_trace_over_service_encoder_and_model(
    start_server: StartServer, receiver: Receiver, mock: MockLLM
) -> None:
    server = start_server(
        "traced",
        RAGENTS_SERVING__ENCODER="service",
        RAGENTS_LLM__PROVIDER="openai",
        RAGENTS_LLM__BASE_URL=mock.url,
        RAGENTS_LLM__MODEL_NAME="mock",
        RAGENTS_RAG__MIN_CONFIDENCE="0",
        RAGENTS_OBSERVABILITY__OTLP__ENDPOINT=receiver.url,
        RAGENTS_OBSERVABILITY__LOG_FORMAT="json",
    )
    query = {"query": f"Where does adaptive batching sit, {SECRET}?", "use_cache": False}
    answer = httpx.post(f"{server.url}/query", json=query, headers=TRACEPARENT, timeout=60)
    assert answer.status_code == 200, answer.text

    def joined() -> list[ReceivedSpan]:
        spans = [each for each in receiver.spans() if each.trace_id == CALLER]
        complete = {each.service for each in spans} == SERVICES and any(
            each.name.startswith("question") for each in spans
        )
        return spans if complete else []

    spans = receiver.wait_for(joined)
    by_id = {each.span_id: each for each in spans}
    outside = {"00f067aa0ba902b7"}
    assert all(each.parent_id in by_id or each.parent_id in outside for each in spans)
    (model,) = [each for each in spans if each.service == "mock-llm"]
    assert by_id[model.parent_id].name == "chat mock"
    encoder = next(each for each in spans if each.service == "ragents-encoder")
    assert by_id[encoder.parent_id].name == "encode"
    assert not any(SECRET.encode() in each.body for each in receiver.requests)

    receiver.hang.set()  # from here on nobody takes what is sent
    started = time.monotonic()
    assert httpx.post(f"{server.url}/query", json=query, timeout=60).status_code == 200
    assert server.stop() == 0
    assert time.monotonic() - started < 20
    log = server.log.read_text()
    assert SECRET not in log
    assert '"message": "ready"' in log
