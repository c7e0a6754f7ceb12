"""Scores on answers: on the caller's own tenant's alone, from any replica, and honest when they go nowhere."""

import json
from typing import Any

import pytest

from benchmarks.mock_llm import MockLLM
from ragents.deployment.callers import Caller
from ragents.deployment.feedback import Feedback
from ragents.deployment.http import RequestContext, enter_request
from ragents.deployment.observability.config import ObservabilityConfig
from ragents.deployment.observability.metrics import get_metrics
from ragents.deployment.observability.scores import MAX_AT_ONCE, OpikScores, open_scores
from ragents.deployment.schemas import FeedbackRequest, FeedbackResponse
from ragents.errors import BackendUnavailable, NotFound, Overloaded
from ragents.principal import Principal
from tests.otlp import Receiver, Recorded
from tests.traced import SCRIPTS, items_of, open_traced


class Opik:
    """What a search finds: the traces that have come, by the filters as Opik documents them.

    `late`: so many searches find nothing yet. `obeys`: the filters.
    """

    def __init__(self, receiver: Receiver, *, late: int = 0, obeys: bool = True) -> None:
        self._receiver, self._late, self._obeys = receiver, late, obeys
        receiver.answer = self.answer

    def answer(self, request: Recorded) -> tuple[int, bytes]:
        if not request.path.endswith("/traces/search"):
            return 204, b""
        if self._late > 0:
            self._late -= 1
            return 200, b""
        asked = request.json()
        found = [each for each in items_of(self._receiver, "traces") if not self._obeys or _fits(each, asked)]
        return 200, b"\n".join(json.dumps(each).encode() for each in found)


def _fits(trace: dict[str, Any], asked: dict[str, Any]) -> bool:
    assert {each["field"] for each in asked["filters"]} == {"metadata"}
    return trace["project_name"] == asked["project_name"] and all(
        trace["metadata"].get(each["key"]) == each["value"] for each in asked["filters"]
    )


@pytest.fixture(scope="module")
def mock(mock: MockLLM) -> MockLLM:
    mock.play(*SCRIPTS["simple"])
    return mock


async def give(
    receiver: Receiver, request_id: str, score: float = 1.0, comment: str | None = None, *, tenant: str = "default"
) -> FeedbackResponse:
    """As another replica would take it: with nothing of the one that answered."""
    config = ObservabilityConfig.model_validate({"opik": {"url": receiver.url, "api_key": "key", "workspace": "ours"}})
    enter_request(RequestContext("the score's own", caller=Caller(Principal(tenant))))
    async with open_scores(config) as scores:
        assert isinstance(scores, OpikScores)
        scores._pause_s = 0.0
        return await Feedback(scores, get_metrics()).take(
            FeedbackRequest(request_id=request_id, score=score, comment=comment)
        )


def scores_of(receiver: Receiver) -> list[dict[str, Any]]:
    return [
        score for each in receiver.requests if each.path.endswith("/feedback-scores") for score in each.json()["scores"]
    ]


async def answered(receiver: Receiver, mock: MockLLM, *asked: tuple[str, str]) -> None:
    async with open_traced(receiver, mock, opik={"url": receiver.url}) as traced:
        for request_id, tenant in asked:
            await traced.ask(request_id=request_id, tenant=tenant)


async def test_another_tenants_answer_reads_as_one_that_never_was(receiver: Receiver, mock: MockLLM) -> None:
    Opik(receiver)
    await answered(receiver, mock, ("r-1", "other"))
    told = []
    for request_id in ("r-1", "r-2"):
        with pytest.raises(NotFound) as caught:
            await give(receiver, request_id)
        told.append(str(caught.value).replace(request_id, "ID"))
    assert told[0] == told[1]
    assert scores_of(receiver) == []


async def test_a_server_that_ignores_the_filter_cannot_make_us_score_others(receiver: Receiver, mock: MockLLM) -> None:
    Opik(receiver, obeys=False)
    await answered(receiver, mock, ("r-1", "other"))
    with pytest.raises(NotFound):
        await give(receiver, "r-1")
    assert scores_of(receiver) == []


async def test_a_score_goes_to_the_answers_trace_with_its_comment(receiver: Receiver, mock: MockLLM) -> None:
    Opik(receiver)
    await answered(receiver, mock, ("r-1", "default"), ("r-1", "other"), ("r-2", "default"))
    taken = await give(receiver, "r-1", 0.5, "half of it", tenant="other")
    assert (taken.forwarded, taken.answers, taken.request_id) == (True, 1, "the score's own")
    (trace,) = [each for each in items_of(receiver, "traces") if each["metadata"]["tenant"] == "other"]
    (score,) = scores_of(receiver)
    assert score == {
        "id": trace["id"],
        "project_name": "ragents",
        "name": "user_feedback",
        "value": 0.5,
        "source": "sdk",
        "reason": "half of it",
    }
    sent = receiver.requests[-1]
    assert (sent.method, sent.path) == ("PUT", "/api/v1/private/traces/feedback-scores")
    assert (sent.headers["authorization"], sent.headers["comet-workspace"]) == ("key", "ours")


async def test_a_score_that_comes_before_its_trace_waits_for_it(receiver: Receiver, mock: MockLLM) -> None:
    Opik(receiver, late=2)
    await answered(receiver, mock, ("r-1", "default"))
    assert (await give(receiver, "r-1")).answers == 1


@pytest.mark.parametrize(("status", "body"), [(500, b"{}"), (401, b"{}"), (200, b"<html>")])
async def test_an_opik_that_does_not_take_it_is_said_so(status: int, body: bytes, receiver: Receiver) -> None:
    receiver.answer = lambda _: (status, body)
    with pytest.raises(BackendUnavailable, match="opik"):
        await give(receiver, "r-1")


async def test_more_scores_at_once_than_are_taken_are_refused(receiver: Receiver) -> None:
    async with open_scores(ObservabilityConfig.model_validate({"opik": {"url": receiver.url}})) as scores:
        assert scores is not None
        scores._under_way = MAX_AT_ONCE
        with pytest.raises(Overloaded):
            await scores.give("r-1", 1.0, None, principal=Principal("default"))


async def test_without_opik_a_score_is_taken_and_not_said_to_be_forwarded() -> None:
    enter_request(RequestContext("own"))
    taken = await Feedback(None, get_metrics()).take(FeedbackRequest(request_id="r-1", score=0))
    assert (taken.taken, taken.forwarded, taken.answers) == (True, False, 0)
    assert taken.note is not None
    assert "no Opik" in taken.note
