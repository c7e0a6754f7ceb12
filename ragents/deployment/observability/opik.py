"""Opik over its REST API: a question's spans become one trace with its tree, tokens and cost.

Opik's own SDK is not used to serve: it brings some thirty packages, among them an LLM gateway that pins others, takes
86 MB, and reports to its maker unless told not to (2.2.122, decision 0028). What is sent here is what it would send.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx

from ragents.deployment.observability.config import OpikConfig
from ragents.tracing import INPUT, OUTPUT, RecordedSpan

Attributes = Mapping[str, Any]
TRACES, SPANS, SCORES, SEARCH = (
    "/v1/private/traces/batch",
    "/v1/private/spans/batch",
    "/v1/private/traces/feedback-scores",
    "/v1/private/traces/search",
)
SOURCE = "sdk"
"""Of the values that Opik knows, the one for programs."""
TYPES = {"chat": "llm", "execute_tool": "tool"}
"""What Opik calls them, by gen_ai.operation.name; everything else is "general"."""


def opik_headers(config: OpikConfig) -> dict[str, str]:
    key = {"Authorization": config.api_key.get_secret_value()} if config.api_key else {}
    return {**key, "Comet-Workspace": config.workspace}


class OpikExporter:
    """Spans that belong to no question are none of Opik's."""

    def __init__(self, config: OpikConfig, *, timeout_s: float) -> None:
        self._project = config.project
        self._http = httpx.Client(base_url=config.address or "", headers=opik_headers(config), timeout=timeout_s)

    def export(self, spans: Sequence[RecordedSpan]) -> bool:
        """Both kinds of a batch in a request each. Ids are given here, so that a repeated one would change nothing."""
        traces, steps = list[dict[str, Any]](), list[dict[str, Any]]()
        for span in spans:
            if span.question is None:
                continue
            question = question_id(*span.question)
            if span.question[1] == span.context.span_id:
                traces.append(trace_of(span, question, project=self._project))
            else:
                steps.append(span_of(span, question, project=self._project))
        for path, name, items in ((TRACES, "traces", traces), (SPANS, "spans", steps)):
            if items and not self._http.post(path, json={name: items}).is_success:
                return False
        return True

    def close(self) -> None:
        self._http.close()


def trace_of(span: RecordedSpan, question: UUID, *, project: str) -> dict[str, Any]:
    """Opik's TraceWrite, of a question's own span."""
    told = span.attributes
    return {
        **_common(span, told, project),
        "id": str(question),
        "thread_id": told.get("gen_ai.conversation.id"),
        "tags": [str(told[key]) for key in ("gen_ai.agent.name", "ragents.cached") if key in told],
    }


def span_of(span: RecordedSpan, question: UUID, *, project: str) -> dict[str, Any]:
    """Opik's SpanWrite. A span whose parent is the question's own stands at the top of Opik's tree."""
    told = span.attributes
    parent = id_within(question, span.parent.span_id) if span.parent else question
    given = {
        "parent_span_id": None if parent == question else str(parent),
        "model": told.get("gen_ai.response.model") or told.get("gen_ai.request.model"),
        "provider": told.get("gen_ai.provider.name"),
        "usage": _usage(told) if told.get("gen_ai.operation.name") == "chat" else None,
        "total_estimated_cost": told.get("ragents.cost_usd"),
    }
    return {
        **_common(span, told, project),
        "id": str(id_within(question, span.context.span_id)),
        "trace_id": str(question),
        "type": TYPES.get(str(told.get("gen_ai.operation.name")), "general"),
        **{name: value for name, value in given.items() if value is not None},
    }


def _common(span: RecordedSpan, told: Attributes, project: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "project_name": project,
        "name": span.name,
        "start_time": _time(span.start_time),
        "end_time": _time(span.end_time),
        "input": _content(told, INPUT),
        "output": _content(told, OUTPUT),
        "metadata": {_short(key): value for key, value in told.items() if key not in (INPUT, OUTPUT)},
        "last_updated_at": _time(span.end_time),
        "source": SOURCE,
    }
    if span.failed:
        kind = str(told.get("error.type", "error"))
        shown["error_info"] = {"exception_type": kind, "traceback": "not kept: see the log under the request id"}
    return {name: value for name, value in shown.items() if value is not None}


def _usage(told: Attributes) -> dict[str, int] | None:
    if "gen_ai.usage.input_tokens" not in told:
        return None
    took, said = int(told["gen_ai.usage.input_tokens"]), int(told.get("gen_ai.usage.output_tokens", 0))
    return {"prompt_tokens": took, "completion_tokens": said, "total_tokens": took + said}


def _content(told: Attributes, key: str) -> Any:
    """Opik takes objects and lists alone."""
    if key not in told:
        return None
    text = str(told[key])
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    return value if isinstance(value, dict | list) else {"text": text}


def _short(key: str) -> str:
    """Opik's filters read a dot as a step into an object."""
    return key.removeprefix("ragents.").replace(".", "_")


def _time(nanoseconds: int | None) -> str | None:
    return None if nanoseconds is None else datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat()


def question_id(start_ns: int, span_id: int) -> UUID:
    """A UUIDv7 that holds when a question's span began and the span's own id.

    So the id of any span of the question can be made of this one and that span's id (`id_within`), with no table.
    """
    return uuid7(start_ns // 1_000_000, span_id)


def id_within(question: UUID, span_id: int) -> UUID:
    """A UUIDv7 for a span of `question`, whose own span's id gives `question` again."""
    return uuid7(question.int >> 80, span_id)


def uuid7(milliseconds: int, low: int) -> UUID:
    """RFC 9562: 48 bits of time, then 74 that are free, of which `low` takes the last 64."""
    free_a, free_b = low >> 62, low & ((1 << 62) - 1)
    return UUID(int=(milliseconds & ((1 << 48) - 1)) << 80 | 7 << 76 | free_a << 64 | 2 << 62 | free_b)
