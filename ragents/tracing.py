"""Spans: what a question does, step by step. Every floor may open one; where they go, the deployment floor decides.

Nothing is made, and next to nothing spent, unless `install` was called and the question at hand is sampled. Names and
attributes follow OpenTelemetry's semantic conventions for generative AI where there are any; the rest is `ragents.*`.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from opentelemetry import context, trace
from opentelemetry.trace import INVALID_SPAN, NoOpTracer, Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Content = Literal["off", "hash", "full"]
"""Whether the words of questions, prompts and answers are in the spans: not at all, as keyed hashes, or as they are."""
Value = str | bool | int | float
QUESTION_ID = "ragents.question.id"
INPUT, OUTPUT = "input.value", "output.value"
"""Content. OpenTelemetry has names for the messages of models alone; these are OpenInference's, which viewers know."""

_PROPAGATOR = TraceContextTextMapPropagator()
_question: ContextVar[str | None] = ContextVar("ragents_question", default=None)


@dataclass(frozen=True, slots=True)
class _Tracing:
    tracer: Tracer
    content: Content = "off"
    hash_key: bytes = b""


_OFF = _Tracing(NoOpTracer())
_now = _OFF


def install(tracer: Tracer, *, content: Content = "off", hash_key: bytes = b"") -> None:
    """From now on spans of this process are made by `tracer`. `hash_key`: for `content` "hash"."""
    global _now  # noqa: PLW0603  # one per process, as OpenTelemetry's own provider
    _now = _Tracing(tracer, content, hash_key)


def uninstall() -> None:
    global _now  # noqa: PLW0603
    _now = _OFF


@contextmanager
def question(name: str, attributes: Mapping[str, Value] | None = None) -> Iterator[Span]:
    """The span that all others of a question stand under. Here is decided whether the question is sampled.

    It belongs to the caller's trace where the request came with a traceparent.
    """
    with _now.tracer.start_as_current_span(
        name, kind=SpanKind.SERVER, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as opened:
        if not opened.is_recording():
            yield opened
            return
        token = _question.set(str(question_id(opened)))
        try:
            opened.set_attribute(QUESTION_ID, _question.get() or "")
            with _ends_with(opened):
                yield opened
        finally:
            _question.reset(token)


@contextmanager
def span(
    name: str, attributes: Mapping[str, Value] | None = None, *, kind: SpanKind = SpanKind.INTERNAL
) -> Iterator[Span]:
    """One step. What it raises is raised on; of an error the span keeps the kind alone, since messages may quote."""
    if not trace.get_current_span().get_span_context().trace_flags.sampled:
        yield INVALID_SPAN
        return
    with _now.tracer.start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as opened:
        if (of := _question.get()) is not None:
            opened.set_attribute(QUESTION_ID, of)
        with _ends_with(opened):
            yield opened


def tell(opened: Span, key: str, text: Callable[[], str]) -> None:
    """Content for a span: asked for, cut or hashed as the settings say."""
    if _now.content == "off" or not opened.is_recording():
        return
    told = text()
    if _now.content == "hash":
        told = "hmac-sha256:" + hmac.new(_now.hash_key, told.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
    opened.set_attribute(key, told)


def tell_json(opened: Span, key: str, value: Callable[[], object]) -> None:
    """As `tell`, for what is no text."""
    tell(opened, key, lambda: json.dumps(value(), ensure_ascii=False, default=str))


@contextmanager
def joining(carrier: Mapping[str, str]) -> Iterator[None]:
    """For a request that came with these headers: what follows belongs to the trace that they name, if they do."""
    if "traceparent" not in carrier:
        yield
        return
    token = context.attach(_PROPAGATOR.extract(carrier))
    try:
        yield
    finally:
        context.detach(token)


def headers() -> dict[str, str]:
    """For a request to a neighbour: it belongs to this trace. Empty outside of one."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier


def trace_id() -> str | None:
    """32 hex digits; None outside of a trace."""
    found = trace.get_current_span().get_span_context()
    return f"{found.trace_id:032x}" if found.is_valid else None


def question_id(opened: Span) -> UUID:
    """A UUIDv7 that holds when the question's span began and the span's own id.

    So the id of any span of the question can be made of this one and that span's id (`id_within`), with no table.
    """
    started_ns: int = getattr(opened, "start_time", None) or 0
    return _uuid7(started_ns // 1_000_000, opened.get_span_context().span_id)


def id_within(question: UUID, span_id: int) -> UUID:
    """A UUIDv7 for a span of `question`, whose own span's id gives `question` again."""
    return _uuid7(question.int >> 80, span_id)


def _uuid7(milliseconds: int, low: int) -> UUID:
    """RFC 9562: 48 bits of time, then 74 that are free, of which `low` takes the last 64."""
    free_a, free_b = low >> 62, low & ((1 << 62) - 1)
    return UUID(int=(milliseconds & ((1 << 48) - 1)) << 80 | 7 << 76 | free_a << 64 | 2 << 62 | free_b)


@contextmanager
def _ends_with(opened: Span) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        opened.set_attribute("error.type", type(error).__name__)
        opened.set_status(StatusCode.ERROR)
        raise
    except BaseException:
        opened.set_attribute("error.type", "cancelled")
        opened.set_status(StatusCode.ERROR)
        raise
