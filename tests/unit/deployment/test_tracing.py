"""What leaves the process about a question, for each agent, and what does not; and that no answer waits for it."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import REGISTRY
from pydantic import ValidationError

from benchmarks.mock_llm import MockLLM
from benchmarks.mock_llm.types import Step
from ragents import tracing
from ragents.config import load_settings
from ragents.deployment.config import ServiceConfig
from ragents.deployment.observability.config import ObservabilityConfig
from ragents.deployment.observability.opik import id_within, uuid7
from ragents.deployment.observability.pipe import CLOSE_S
from ragents.deployment.observability.tracing import open_tracing
from ragents.deployment.schemas import BatchRequest, QueryRequest
from ragents.errors import ConfigError, RAGentsError
from tests.otlp import Receiver
from tests.traced import ANSWER, QUESTION, SCRIPTS, Tree, items_of, open_traced, tree_of

SECRET = "Zwetschgenkuchen"
RETRIEVED: Tree = [("cache retrieval", []), ("embeddings hashing-384", []), ("retrieval", [])]
CHAT: Tree = [("chat mock", [])]
STEPS: dict[str, Tree] = {
    "simple": [("step retrieve", RETRIEVED), ("step answer", CHAT)],
    "langgraph": [
        ("step rewrite", []),
        ("step retrieve", RETRIEVED),
        ("step grade", CHAT),
        ("step reason", []),
        ("step answer", CHAT),
        ("step check", []),
    ],
    "logical": [
        ("step parse", []),
        ("step refine", CHAT),
        ("step retrieve", RETRIEVED),
        ("step compute", []),
        ("step answer", CHAT),
    ],
    "react": [
        ("step reason", CHAT),
        ("step tools", [("execute_tool search_documents", RETRIEVED)]),
        ("step reason", CHAT),
        ("step answer", []),
    ],
}


def dropped(destination: str, reason: str) -> float:
    labels = {"destination": destination, "reason": reason}
    return REGISTRY.get_sample_value("rag_tracing_dropped_total", labels) or 0.0


def told(receiver: Receiver) -> bytes:
    return b"".join(each.body for each in receiver.requests)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"otlp": {"endpoint": "jaeger:4318"}}, "no address"),
        ({"opik": {"url": "opik"}}, "no address"),
        ({"otlp": {"endpoint": "http://x", "sample_rate": 2}}, "sample_rate"),
        ({"trace_content": "hash", "trace_hash_key": "short"}, "shorter than 16"),
        ({"trace_content": "some"}, "trace_content"),
    ],
)
def test_settings_that_cannot_work_stop_the_start(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_settings(ServiceConfig, arguments={"observability": settings}, environ={})


def test_addresses_are_completed_and_opik_is_off_until_it_has_one() -> None:
    config = ObservabilityConfig.model_validate(
        {"otlp": {"endpoint": "http://jaeger:4318/"}, "opik": {"url": "http://opik:5173"}}
    )
    assert config.otlp.endpoint == "http://jaeger:4318/v1/traces"
    assert config.opik.address == "http://opik:5173/api"
    assert ObservabilityConfig().opik.address is None
    hosted = ObservabilityConfig.model_validate({"opik": {"api_key": "key"}})
    assert hosted.opik.address == "https://www.comet.com/opik/api"


def test_keys_come_from_the_environment_and_a_bare_off_is_a_word() -> None:
    environ = {
        "RAGENTS_OBSERVABILITY__OTLP__HEADERS__X_API_KEY": "secret",
        "RAGENTS_OBSERVABILITY__TRACE_CONTENT": "off",
    }
    config = load_settings(ServiceConfig, path=Path("configuration.yaml"), environ=environ).observability
    assert config.otlp.headers["x-api-key"].get_secret_value() == "secret"
    assert "secret" not in repr(config)
    assert config.trace_content == "off"
    assert config == config.model_validate(config.model_dump())


@pytest.mark.parametrize("headers", [{"X-Api-Key": "a\nb"}, {"X-Api-Key": "k\u00e9y"}, {"X Api": "a"}, {"": "a"}])
def test_a_header_that_no_request_may_have_is_refused_at_the_start(headers: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="no header may have"):
        ObservabilityConfig.model_validate({"otlp": {"endpoint": "http://jaeger:4318", "headers": headers}})


async def test_without_an_address_no_span_is_made_and_no_thread_started() -> None:
    threads = threading.active_count()
    async with open_tracing(ObservabilityConfig(), service="ragents"):
        with tracing.question("question simple") as root, tracing.span("step") as step:
            assert not root.is_recording()
            assert not step.is_recording()
            assert tracing.headers() == {}
        assert threading.active_count() == threads


@pytest.mark.parametrize("agent", SCRIPTS)
async def test_opik_gets_each_agents_question_as_one_trace_with_its_tree_tokens_and_cost(
    agent: str, receiver: Receiver, mock: MockLLM
) -> None:
    mock.play(*SCRIPTS[agent])
    async with open_traced(receiver, mock) as traced:
        answer = await traced.ask(agent_type=agent, request_id="r-7", thread_id="t-1")
    (trace,) = items_of(receiver, "traces")
    assert trace["name"] == f"question {agent}"
    assert trace["thread_id"] == "t-1"
    assert (
        trace["metadata"] | {"request_id": "r-7", "tenant": "default", "sources": len(answer.sources)}
        == trace["metadata"]
    )
    spans = items_of(receiver, "spans")
    assert {each["trace_id"] for each in spans} == {trace["id"]}
    above, (name, below) = (tree := tree_of(spans))[:-1], tree[-1]
    assert above == [("admission", []), ("cache answer", [])]
    assert (name, below) == (f"invoke_agent {agent}", STEPS[agent])
    calls = [each for each in spans if each["type"] == "llm"]
    assert len(calls) == len(mock.seen.requests)
    assert all((each["model"], each["provider"]) == ("mock", "openai") for each in calls)
    assert sum(each["usage"]["prompt_tokens"] for each in calls) == answer.usage.prompt_tokens
    assert sum(each["usage"]["completion_tokens"] for each in calls) == answer.usage.completion_tokens
    assert sum(each["total_estimated_cost"] for each in calls) == pytest.approx(answer.usage.cost_usd)


async def test_a_streamed_answer_leaves_the_same_tree(receiver: Receiver, mock: MockLLM) -> None:
    mock.play(*SCRIPTS["simple"])
    async with open_traced(receiver, mock) as traced:
        from ragents.deployment.http import RequestContext, enter_request

        enter_request(RequestContext("r-stream"))
        events = [event.name async for event in await traced.questions.stream(QueryRequest(query=QUESTION))]
    assert events[-1] == "done"
    assert tree_of(items_of(receiver, "spans"))[-1] == ("invoke_agent simple", STEPS["simple"])


async def test_a_batch_is_a_trace_for_each_question(receiver: Receiver, mock: MockLLM) -> None:
    mock.play(*SCRIPTS["simple"])
    async with open_traced(receiver, mock) as traced:
        requests = [{"query": QUESTION}, {"query": "Where does the cat sleep?"}]
        await traced.questions.batch(BatchRequest(requests=requests))
    traces = items_of(receiver, "traces")
    assert len({each["id"] for each in traces}) == 2
    for trace in traces:
        own = [each for each in items_of(receiver, "spans") if each["trace_id"] == trace["id"]]
        assert next(name for name, _ in tree_of(own)) == "admission"


async def test_the_callers_trace_goes_on_to_the_model(receiver: Receiver, mock: MockLLM) -> None:
    mock.play(*SCRIPTS["simple"])
    caller = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with open_traced(receiver, mock) as traced:
        with tracing.joining({"traceparent": f"00-{caller}-00f067aa0ba902b7-01"}):
            await traced.ask()
    spans = receiver.spans()
    assert {each.trace_id for each in spans} == {caller}
    (call,) = [each for each in spans if each.name == "chat mock"]
    assert mock.seen.headers[0]["traceparent"].split("-")[1:3] == [caller, call.span_id]


async def test_spans_of_another_library_join_and_its_spans_are_joined(receiver: Receiver) -> None:
    theirs = TracerProvider().get_tracer("a user's tool")
    config = ObservabilityConfig.model_validate({"otlp": {"endpoint": receiver.url}})
    async with open_tracing(config, service="ragents"):
        with (
            tracing.question("question react"),
            tracing.span("execute_tool mine") as ours,
            theirs.start_as_current_span("theirs") as inner,
            tracing.span("beneath"),
        ):
            assert inner.is_recording()
            assert inner.parent == ours.get_span_context()
    beneath = next(each for each in receiver.spans() if each.name == "beneath")
    assert beneath.parent_id == f"{inner.get_span_context().span_id:016x}"


async def test_a_caller_who_is_not_sampled_is_not_traced_and_the_model_is_told_so(
    receiver: Receiver, mock: MockLLM
) -> None:
    mock.play(*SCRIPTS["simple"])
    async with open_traced(receiver, mock) as traced:
        with tracing.joining({"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"}):
            await traced.ask()
    assert receiver.requests == []
    assert mock.seen.headers[0]["traceparent"].endswith("-00")


@pytest.mark.parametrize("header", ["", "garbage", "00-0-0-01", "00-" + "f" * 5000])
async def test_a_traceparent_that_is_none_begins_a_trace_of_its_own(
    header: str, receiver: Receiver, mock: MockLLM
) -> None:
    mock.play(*SCRIPTS["simple"])
    async with open_traced(receiver, mock) as traced:
        with tracing.joining({"traceparent": header}):
            await traced.ask()
    assert len({each.trace_id for each in receiver.spans()}) == 1


@pytest.mark.parametrize("agent", SCRIPTS)
@pytest.mark.parametrize("content", ["off", "hash"])
async def test_no_word_of_question_passage_or_answer_leaves_unless_asked_for(
    agent: str, content: str, receiver: Receiver, mock: MockLLM
) -> None:
    mock.play(Step(content=f"{SECRET} sits at the encoder [1]."))
    places = {"otlp": {"endpoint": receiver.url}, "opik": {"url": receiver.url}}
    async with open_traced(receiver, mock, trace_content=content, **places) as traced:
        await traced.ask(f"Where does adaptive {SECRET} batching sit?", agent_type=agent)
        mock.play(Step(fault="500"))
        with pytest.raises(RAGentsError):
            await traced.ask(f"And now, {SECRET}?", agent_type=agent)
    sent = told(receiver)
    assert b"question" in sent
    assert SECRET.encode() not in sent
    assert b"adaptive" not in sent
    assert (b"hmac-sha256:" in sent) == (content == "hash")


async def test_equal_words_have_equal_hashes_under_one_key_alone(receiver: Receiver, mock: MockLLM) -> None:
    inputs = []
    for key in ("a key of sixteen", "a key of sixteen", "another sixteen.."):
        receiver.requests.clear()
        place = {"trace_content": "hash", "trace_hash_key": key, "opik": {"url": receiver.url}}
        mock.play(*SCRIPTS["simple"])
        async with open_traced(receiver, mock, **place) as traced:
            await traced.ask()
        (trace,) = items_of(receiver, "traces")
        inputs.append(trace["input"]["text"])
    assert inputs[0] == inputs[1] != inputs[2]


async def test_full_content_is_the_question_the_prompt_and_the_answer(receiver: Receiver, mock: MockLLM) -> None:
    mock.play(*SCRIPTS["react"])
    async with open_traced(receiver, mock, trace_content="full", opik={"url": receiver.url}) as traced:
        await traced.ask(agent_type="react")
    (trace,) = items_of(receiver, "traces")
    assert (trace["input"], trace["output"]) == ({"text": QUESTION}, {"text": ANSWER})
    spans = {each["name"]: each for each in items_of(receiver, "spans")}
    assert spans["execute_tool search_documents"]["input"] == {"query": "adaptive batching"}
    assert spans["chat mock"]["input"]["messages"][0]["role"] == "system"


async def test_a_question_that_fails_is_a_failed_trace_without_the_errors_words(
    receiver: Receiver, mock: MockLLM
) -> None:
    mock.play(Step(fault="500"))
    async with open_traced(receiver, mock) as traced:
        with pytest.raises(RAGentsError):
            await traced.ask()
    (trace,) = items_of(receiver, "traces")
    assert trace["error_info"]["exception_type"] == "ModelUnavailable"
    failed = {each.name for each in receiver.spans() if each.failed}
    assert failed == {"question simple", "invoke_agent simple", "step answer", "chat mock"}
    assert b"words of the server" not in told(receiver)


async def test_an_agent_that_asks_back_has_not_failed(receiver: Receiver, mock: MockLLM) -> None:
    mock.play(*SCRIPTS["logical"])
    async with open_traced(receiver, mock) as traced:
        answer = await traced.ask("How many days lie between the two dates?", agent_type="logical")
    assert answer.pending is not None
    (asking,) = [each for each in receiver.spans() if each.name == "step ask"]
    assert asking.attributes["ragents.interrupted"] is True
    assert not any(each.failed for each in receiver.spans())


async def test_each_destination_has_its_own_share_of_whole_traces(receiver: Receiver, mock: MockLLM) -> None:
    mock.play(*SCRIPTS["simple"])
    places = {"otlp": {"endpoint": receiver.url}, "opik": {"url": receiver.url, "sample_rate": 0.3}}
    async with open_traced(receiver, mock, **places) as traced:
        for n in range(40):
            await traced.ask(f"Question {n}?")
    spans = receiver.spans()
    assert len({each.trace_id for each in spans}) == 40
    scored = {each["id"] for each in items_of(receiver, "traces")}
    assert 0 < len(scored) < 30
    assert {each["trace_id"] for each in items_of(receiver, "spans")} == scored


async def test_a_destination_that_hangs_slows_nothing_and_what_it_misses_is_counted(
    receiver: Receiver, mock: MockLLM
) -> None:
    mock.play(*SCRIPTS["simple"])
    receiver.hang.set()
    before = {reason: dropped("otlp", reason) for reason in ("queue_full", "closed", "export_failed")}
    async with open_traced(
        receiver, mock, otlp={"endpoint": receiver.url}, max_queued_spans=20, export_timeout_s=30
    ) as traced:
        for n in range(10):
            await traced.ask(f"Question {n}?")
        closing = time.monotonic()
    assert time.monotonic() - closing < CLOSE_S + 10
    lost = {reason: dropped("otlp", reason) - count for reason, count in before.items()}
    assert 0 < lost["queue_full"] < 10  # whole questions, not begun
    assert lost["closed"] >= 20


async def test_a_destination_that_is_gone_is_counted(receiver: Receiver, mock: MockLLM) -> None:
    mock.play(*SCRIPTS["simple"])
    receiver.answer = lambda _: (400, b"{}")
    before = dropped("opik", "export_failed")
    async with open_traced(receiver, mock, opik={"url": receiver.url}) as traced:
        await traced.ask()
    assert dropped("opik", "export_failed") - before == 10


async def test_a_destination_that_comes_back_gets_what_comes_after(receiver: Receiver, mock: MockLLM) -> None:
    mock.play(*SCRIPTS["simple"])
    receiver.answer = lambda _: (400, b"{}")
    async with open_traced(receiver, mock, opik={"url": receiver.url}) as traced:
        await traced.ask(request_id="lost")
        await asyncio.to_thread(receiver.wait_for, lambda: receiver.requests)
        receiver.requests.clear()
        receiver.answer = lambda _: (200, b"{}")
        await traced.ask("And now?", request_id="kept")
        await asyncio.to_thread(receiver.wait_for, lambda: items_of(receiver, "spans"))
    (trace,) = items_of(receiver, "traces")
    assert trace["metadata"]["request_id"] == "kept"


def test_a_spans_id_within_a_question_is_a_uuid_of_version_7_that_holds_both() -> None:
    for span_id in (1, 0xFEDCBA9876543210, 2**64 - 1):
        question = uuid7(1_790_000_000_000, span_id)
        assert question.version == 7
        assert question.variant == "specified in RFC 4122"
        assert id_within(question, span_id) == question
        assert id_within(question, span_id ^ 1) != question
        assert question.int >> 80 == 1_790_000_000_000
