"""A service's insides with a model behind an address, whose questions are traced to a receiver."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.mock_llm import MockLLM
from benchmarks.mock_llm.types import Step, ToolCall
from ragents.deployment.app import App, open_app
from ragents.deployment.callers import Caller
from ragents.deployment.config import ServiceConfig
from ragents.deployment.http import RequestContext, enter_request
from ragents.deployment.observability.metrics import get_metrics
from ragents.deployment.observability.tracing import open_tracing
from ragents.deployment.questions import Questions
from ragents.deployment.schemas import QueryRequest, QueryResponse
from ragents.principal import Principal
from tests.doubles import TEXTS, add_document
from tests.otlp import Receiver

QUESTION = "Where does adaptive batching sit?"
ANSWER = "Adaptive batching sits at the encoder [1]."
SCRIPTS = {
    "simple": [Step(content=ANSWER)],
    "langgraph": [Step(content=ANSWER)],
    "logical": [Step(content=ANSWER)],
    "react": [
        Step(tool_calls=[ToolCall(name="search_documents", arguments={"query": "adaptive batching"})]),
        Step(content=ANSWER),
    ],
}
PRICE = {"prompt": 1.0, "completion": 2.0}
Tree = list[tuple[str, "Tree"]]


@dataclass
class Traced:
    app: App
    questions: Questions

    async def ask(
        self, query: str = QUESTION, *, request_id: str = "r1", tenant: str = "default", **fields: Any
    ) -> QueryResponse:
        enter_request(RequestContext(request_id, caller=Caller(Principal(tenant))))
        return await self.questions.query(QueryRequest(query=query, **fields))


@asynccontextmanager
async def open_traced(receiver: Receiver, mock: MockLLM, **observability: Any) -> AsyncIterator[Traced]:
    """On the doubles that ship, but for the model, which is asked over HTTP."""
    settings = {
        "embeddings": {"backend": "hashing"},
        "store": {"backend": "memory"},
        "checkpoint": {"backend": "memory"},
        "rag": {"min_confidence": 0.0},
        "llm": {"provider": "openai", "base_url": mock.url, "model_name": "mock", "price": PRICE, "max_retries": 0},
        "observability": observability or {"otlp": {"endpoint": receiver.url}, "opik": {"url": receiver.url}},
    }
    config = ServiceConfig.model_validate(settings)
    async with open_tracing(config.observability, service="ragents"), open_app(config) as app:
        for tenant in ("default", "other"):
            for uri, text in TEXTS.items():
                await add_document(app.engine, uri, [text], principal=Principal(tenant))
        metrics = get_metrics()
        questions = Questions(app, metrics)
        try:
            yield Traced(app, questions)
        finally:
            await questions.runs.close()


def items_of(receiver: Receiver, kind: str) -> list[dict[str, Any]]:
    """Opik's "traces" or "spans" that have come."""
    return [
        item for each in list(receiver.requests) if each.path.endswith(f"/{kind}/batch") for item in each.json()[kind]
    ]


def tree_of(spans: Iterable[dict[str, Any]], parent: str | None = None) -> Tree:
    """Names of Opik's spans, each with those beneath it, in the order of their start."""
    spans = list(spans)
    below = sorted(
        (each for each in spans if each.get("parent_span_id") == parent), key=lambda each: each["start_time"]
    )
    return [(each["name"], tree_of(spans, each["id"])) for each in below]
