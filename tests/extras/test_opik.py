"""Beside Opik's own SDK: what we send for each agent is what it would send, and it reads what we wrote."""

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from benchmarks.mock_llm import MockLLM
from ragents.deployment.observability.config import ObservabilityConfig
from ragents.deployment.observability.scores import open_scores
from ragents.errors import NotFound
from ragents.principal import Principal
from tests.otlp import Receiver, open_receiver
from tests.traced import SCRIPTS, items_of, open_traced, tree_of

pytestmark = pytest.mark.extras


@pytest.fixture
def theirs() -> Iterator[Receiver]:
    with open_receiver() as opened:
        yield opened


@pytest.fixture
def client(theirs: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The SDK, sending to `theirs`."""
    monkeypatch.setenv("OPIK_SENTRY_ENABLE", "false")  # read when it is imported
    import opik

    made = opik.Opik(host=f"{theirs.url}/api", project_name="ragents", workspace="default")
    yield made
    made.end()


def tell_sdk(client: Any, traces: Iterable[dict[str, Any]], spans: Iterable[dict[str, Any]]) -> None:
    """The same trace, through the SDK's own calls; its types check what we have sent."""
    from opik.rest_api.types.span_write import SpanWrite
    from opik.rest_api.types.trace_write import TraceWrite

    ours = ("project_name", "source", "last_updated_at", "total_estimated_cost")
    for sent in traces:
        trace = TraceWrite.model_validate(sent)
        client.trace(**{name: getattr(trace, name) for name in sent if name not in ours})
    for sent in spans:
        span = SpanWrite.model_validate(sent)
        given = {name: getattr(span, name) for name in sent if name not in ours}
        client.span(**given, total_cost=span.total_estimated_cost)


@pytest.mark.parametrize("agent", SCRIPTS)
async def test_the_sdk_sends_the_same_trace_to_the_same_routes(
    agent: str, receiver: Receiver, theirs: Receiver, mock: MockLLM, client: Any
) -> None:
    import opik

    mock.play(*SCRIPTS[agent])
    async with open_traced(receiver, mock, trace_content="full", opik={"url": receiver.url}) as traced:
        await traced.ask(agent_type=agent, thread_id="t-1")
    traces, spans = items_of(receiver, "traces"), items_of(receiver, "spans")

    with opik.record_traces_locally(client) as recorded:
        tell_sdk(client, traces, spans)
        (local,) = recorded.trace_trees
    client.flush()

    assert {each.path for each in receiver.requests} <= {each.path for each in theirs.requests}
    (their_trace,) = items_of(theirs, "traces")
    assert _same(traces[0], their_trace) == []
    their_spans = {each["id"]: each for each in items_of(theirs, "spans")}
    assert set(their_spans) == {each["id"] for each in spans}
    for span in spans:
        assert _same(span, their_spans[span["id"]]) == []
    assert tree_of(spans) == tree_of(their_spans.values()) == _names(local.spans)
    calls = [each for each in their_spans.values() if each["type"] == "llm"]
    assert len(calls) == len(mock.seen.requests)
    assert all(each["usage"]["total_tokens"] > 0 and each["total_estimated_cost"] > 0 for each in calls)


async def test_a_score_and_the_search_for_its_trace_are_the_sdks(
    receiver: Receiver, theirs: Receiver, client: Any
) -> None:
    from opik.rest_api.types.feedback_score_batch_item import FeedbackScoreBatchItem

    receiver.answer = lambda _: (200, b"")
    config = ObservabilityConfig.model_validate({"opik": {"url": receiver.url}})
    async with open_scores(config) as scores:
        assert scores is not None
        scores._pause_s = 0.0
        with pytest.raises(NotFound):
            await scores.give("r-1", 1.0, "right", principal=Principal("ours"))
        metadata = (
            b'{"id": "01a1fdd2-897b-7694-8e90-7cd3b952d603", "metadata": {"request_id": "r-1", "tenant": "ours"}}'
        )
        receiver.answer = lambda _: (200, metadata)
        await scores.give("r-1", 1.0, "right", principal=Principal("ours"))
    searched, scored = receiver.requests[0], receiver.requests[-1]

    theirs.answer = lambda _: (200, b"")
    client.search_traces(
        project_name="ragents",
        filter_string='metadata.request_id = "r-1" AND metadata.tenant = "ours"',
        max_results=1,
    )
    item = scored.json()["scores"][0]
    FeedbackScoreBatchItem.model_validate(item)
    client.log_traces_feedback_scores(
        [{"id": item["id"], "name": item["name"], "value": item["value"], "reason": item["reason"]}]
    )
    client.flush()
    (their_search,) = [each for each in theirs.requests if each.path.endswith("/search")]
    (their_score,) = [each for each in theirs.requests if each.path.endswith("/feedback-scores")]
    assert (searched.method, searched.path) == (their_search.method, their_search.path)
    assert searched.json()["filters"] == their_search.json()["filters"]
    assert (scored.method, scored.path) == (their_score.method, their_score.path)
    assert _same(item, their_score.json()["scores"][0]) == []


def _same(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """What differs, but for when the SDK was told, how times are written, and what it adds to objects."""
    pairs = {name: (value, theirs.get(name)) for name, value in ours.items() if name != "last_updated_at"}
    return [f"{name}: {one!r} != {other!r}" for name, (one, other) in pairs.items() if not _equal(name, one, other)]


def _equal(name: str, one: Any, other: Any) -> bool:
    if name.endswith("_time"):
        return str(one).replace("+00:00", "Z") == str(other).replace("+00:00", "Z")
    if name in ("usage", "metadata"):
        return set(one.items()) <= {(key, value) for key, value in other.items() if not isinstance(value, dict)}
    return bool(one == other)


def _names(spans: list[Any]) -> list[Any]:
    below = sorted(spans, key=lambda each: each.start_time)
    return [(each.name, _names(each.spans)) for each in below]
