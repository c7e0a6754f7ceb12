"""POST /feedback: what a user thinks of an answer."""

import logging

from ragents.deployment.http import current_request
from ragents.deployment.observability.metrics import Metrics
from ragents.deployment.observability.scores import OpikScores
from ragents.deployment.schemas import FeedbackRequest, FeedbackResponse

log = logging.getLogger(__name__)
NOT_FORWARDED = "counted and logged; no Opik is configured that could keep it (observability.opik)"


class Feedback:
    """Forwards to Opik where there is one, and counts either way. The comment's words are not logged."""

    def __init__(self, scores: OpikScores | None, metrics: Metrics) -> None:
        self._scores, self._metrics = scores, metrics

    async def take(self, request: FeedbackRequest) -> FeedbackResponse:
        """NotFound for a request that is not of the caller's tenant, where that can be known: with Opik."""
        context, answers = current_request(), 0
        if self._scores is not None:
            answers = await self._scores.give(
                request.request_id, request.score, request.comment, principal=context.principal
            )
        forwarded = self._scores is not None
        self._metrics.feedback(request.score, forwarded=forwarded)
        log.info("feedback on request %s: %g", request.request_id, request.score)
        return FeedbackResponse(
            taken=True,
            forwarded=forwarded,
            answers=answers,
            note=None if forwarded else NOT_FORWARDED,
            request_id=context.request_id,
        )
