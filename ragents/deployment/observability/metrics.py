"""The metrics of /metrics. Made after BentoML has named its directory for several workers, not at import."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Literal, get_args

from prometheus_client import Counter, Gauge, Histogram

from ragents.agents.types import AgentAnswer
from ragents.deployment.http import status_of
from ragents.deployment.observability.caches import CacheMetrics
from ragents.deployment.observability.ingesting import IngestMetrics
from ragents.deployment.observability.server import ServerMetrics
from ragents.deployment.observability.threads import ThreadMetrics
from ragents.deployment.rate_limiting.types import Priority
from ragents.embeddings import EncodedBatch
from ragents.errors import RAGentsError
from ragents.llm.failures import Kind
from ragents.rag.cache import RAGCache

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
STAGES = ("queue", "embed", "retrieve", "rerank", "generate")
CACHED = ("none", "answer", "semantic")
SHED = ("queue_full", "queue_timeout", "deadline")
"""Reasons of admission; those of the limits are their names."""
Status = Literal["ok", "error", "limited", "invalid", "cancelled"]
"""error: our side's fault (5xx). limited: 429. invalid: any other 4xx. cancelled: the caller left."""


class Metrics:
    """Label values are bounded: agents, stages and layers that exist, never a tenant, a user or a path."""

    def __init__(self) -> None:
        self._queries = Counter("rag_queries_total", "Questions by outcome", ["agent_type", "status", "cached"])
        self._duration = Histogram(
            "rag_query_duration_seconds", "From admission to answer", ["agent_type", "cached"], buckets=SECONDS
        )
        self._stage = Histogram("rag_stage_duration_seconds", "Time in each stage", ["stage"], buckets=SECONDS)
        self._confidence = Histogram(
            "rag_confidence_score", "Confidence of answers", buckets=[n / 10 for n in range(1, 11)]
        )
        self._sources = Histogram(
            "rag_retrieved_docs_count", "Sources per answer", buckets=(0, 1, 2, 3, 4, 5, 8, 10, 20, 50)
        )
        self._queue_wait = Histogram("rag_queue_wait_seconds", "Wait for admission", buckets=SECONDS)
        self._in_flight = Gauge("rag_in_flight", "Questions being answered", multiprocess_mode="livesum")
        self._queue = Gauge("rag_queue_depth", "Questions waiting", ["priority"], multiprocess_mode="livesum")
        self._limited = Counter("rag_rate_limited_total", "Questions refused with 429", ["reason"])
        self._local_share = Gauge(
            "rag_rate_limit_local_share",
            "1 while Redis is away and a share of the limits applies",
            multiprocess_mode="livemax",
        )
        self._tokens = Counter("rag_tokens_total", "Tokens by model", ["model", "kind"])
        self._cost = Counter("rag_cost_usd_total", "What answers cost, in US dollars", ["model"])
        self._errors = Counter("rag_llm_errors_total", "Failed calls of models", ["kind"])
        self._batch_size = Histogram(
            "rag_encoder_batch_size", "Texts in one run of the encoder", ["kind"], buckets=BATCH_SIZES
        )
        self._batch_wait = Histogram("rag_encoder_wait_seconds", "Wait for the encoder", ["kind"], buckets=SECONDS)
        self._batch_run = Histogram("rag_encoder_run_seconds", "One run of the encoder", ["kind"], buckets=SECONDS)
        self._feedback = Counter("rag_feedback_total", "Scores that users gave", ["score", "forwarded"])
        self.caches = CacheMetrics()
        self.ingest = IngestMetrics()
        self.server = ServerMetrics()
        self.threads = ThreadMetrics()

    def expect(self, agents: Iterable[str]) -> None:
        """Series that are there from the start: Prometheus does not count what a series began with, so the first errors
        of a server would raise no rate.
        """
        for agent in agents:
            for status in get_args(Status):
                self._queries.labels(agent, status, "none")
            for cached in CACHED:
                self._queries.labels(agent, "ok", cached)
                self._duration.labels(agent, cached)
        for reason in SHED:
            self._limited.labels(reason)
        for kind in get_args(Kind):
            self._errors.labels(kind)

    @contextmanager
    def query(self, agent_type: str, known: Mapping[str, object]) -> Iterator["Outcome"]:
        """Counts one question, however it ends."""
        outcome = Outcome(agent_type if agent_type in known else "unknown")
        try:
            yield outcome
            outcome.status = "ok"
        except BaseException as error:
            outcome.status = _status(error)
            raise
        finally:
            self._queries.labels(outcome.agent_type, outcome.status, outcome.cached).inc()
            if outcome.answer is not None:
                self._answered(outcome.answer, outcome)

    def admission(self, in_flight: int, waiting: Mapping[Priority, int]) -> None:
        self._in_flight.set(in_flight)
        for priority, questions in waiting.items():
            self._queue.labels(priority.value).set(questions)

    def limited(self, reason: str) -> None:
        self._limited.labels(reason).inc()

    def local_share(self, applies: bool) -> None:
        self._local_share.set(applies)

    def batch_encoded(self, batch: EncodedBatch) -> None:
        self._batch_size.labels(batch.kind).observe(batch.texts)
        self._batch_run.labels(batch.kind).observe(batch.run_s)
        for wait_s in batch.waits_s:
            self._batch_wait.labels(batch.kind).observe(wait_s)

    def model_failed(self, kind: Kind) -> None:
        """One call, whether or not a retry or a fallback made it good."""
        self._errors.labels(kind).inc()

    def feedback(self, score: float, *, forwarded: bool) -> None:
        """`score` of 0..1, counted by its third."""
        third = "low" if score < 1 / 3 else "high" if score > 2 / 3 else "middle"
        self._feedback.labels(third, str(forwarded).lower()).inc()

    async def observe_cache(self, cache: RAGCache) -> None:
        self.caches.observe(cache)

    def _answered(self, answer: AgentAnswer, outcome: "Outcome") -> None:
        response = answer.response
        self._duration.labels(outcome.agent_type, outcome.cached).observe(outcome.seconds)
        self._confidence.observe(response.confidence)
        self._sources.observe(len(response.sources))
        self._queue_wait.observe(outcome.queue_ms / 1000)
        self._stage.labels("queue").observe(outcome.queue_ms / 1000)
        for name, milliseconds in response.timings.items():
            if (stage := name.removesuffix("_ms")) in STAGES:
                self._stage.labels(stage).observe(milliseconds / 1000)
        self.threads.had_turn(answer.thread_id)
        if response.cached is None:
            self._tokens.labels(response.model, "prompt").inc(response.usage.prompt_tokens)
            self._tokens.labels(response.model, "completion").inc(response.usage.completion_tokens)
            if response.usage.cost_usd is not None:
                self._cost.labels(response.model).inc(response.usage.cost_usd)


class Outcome:
    """How a question ended; filled in on the way."""

    def __init__(self, agent_type: str) -> None:
        self.agent_type = agent_type
        self.status: Status = "error"
        self.queue_ms = 0.0
        self.seconds = 0.0
        self.answer: AgentAnswer | None = None

    @property
    def cached(self) -> str:
        return (self.answer.response.cached if self.answer else None) or "none"


def _status(error: BaseException) -> Status:
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return "cancelled"
    status = status_of(error) if isinstance(error, RAGentsError) else 500
    if status >= 500:
        return "error"
    return "limited" if status == 429 else "invalid"


@cache
def get_metrics() -> Metrics:
    """One per process: the Prometheus registry refuses a name twice."""
    return Metrics()
