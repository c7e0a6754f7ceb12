"""Spans: what a question does, step by step. Every floor may open one; where they go, the deployment floor decides.

Nothing is made, and next to nothing spent, unless `install` was called and the question at hand is sampled. Names and
attributes follow OpenTelemetry's semantic conventions for generative AI where there are any; the rest is `ragents.*`.

The current span, the ids and the headers are OpenTelemetry's. The spans are our own: they are noted down and nothing
more, and made into the SDK's by the thread that sends them (docs/decisions/0028 has what that saves).
"""

import hashlib
import hmac
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Token
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol

from opentelemetry import context, trace
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Content = Literal["off", "hash", "full"]
"""Whether the words of questions, prompts and answers are in the spans: not at all, as keyed hashes, or as they are."""
Value = str | bool | int | float
INPUT, OUTPUT = "input.value", "output.value"
"""Content. OpenTelemetry has names for the messages of models alone; these are OpenInference's, which viewers know."""
MAX_CONTENT_CHARACTERS = 8_000

_PROPAGATOR = TraceContextTextMapPropagator()
_SAMPLED, _NOT_SAMPLED = TraceFlags(TraceFlags.SAMPLED), TraceFlags(TraceFlags.DEFAULT)


class RecordedSpan(Span):
    """What happened, from its making to `end`. `question`: start and id of the span of its question, if it has one.

    `forced`: the caller's trace is sampled. Times are in nanoseconds since 1970.
    """

    __slots__ = (
        "_recorder",
        "attributes",
        "context",
        "end_time",
        "failed",
        "forced",
        "kind",
        "name",
        "parent",
        "question",
        "start_time",
    )

    def __init__(
        self,
        recorder: "Recorder",
        name: str,
        ids: SpanContext,
        parent: SpanContext | None,
        *,
        kind: SpanKind,
        attributes: Mapping[str, Value] | None,
        question: tuple[int, int] | None,
        forced: bool,
    ) -> None:
        self._recorder, self.name, self.context, self.parent, self.kind = recorder, name, ids, parent, kind
        self.attributes: dict[str, Any] = {} if attributes is None else dict(attributes)
        self.question, self.forced, self.failed = question, forced, False
        self.end_time: int | None = None
        self.start_time = time.time_ns()

    def end(self, end_time: int | None = None) -> None:
        if self.end_time is None:
            self.end_time = end_time or time.time_ns()
            self._recorder.ended(self)

    def get_span_context(self) -> SpanContext:
        return self.context

    def is_recording(self) -> bool:
        return self.end_time is None

    def set_attribute(self, key: str, value: Any) -> None:
        self.attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        self.attributes.update(attributes)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        code = status.status_code if isinstance(status, Status) else status
        self.failed = code is StatusCode.ERROR

    def update_name(self, name: str) -> None:
        self.name = name

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Nothing: a span here has attributes alone."""

    def record_exception(
        self, exception: BaseException, attributes: Any = None, timestamp: int | None = None, escaped: bool = False
    ) -> None:
        """The kind alone: messages may quote."""
        self.attributes["error.type"] = type(exception).__name__


class Recorder(Protocol):
    """Where spans go."""

    def takes(self, trace_id: int, *, forced: bool) -> bool:
        """Whether a question is sampled."""
        ...

    def ended(self, span: RecordedSpan) -> None: ...


@dataclass(frozen=True, slots=True)
class _Tracing:
    recorder: Recorder | None = None
    content: Content = "off"
    hash_key: bytes = b""


_OFF = _Tracing()
_now = _OFF


def install(recorder: Recorder, *, content: Content = "off", hash_key: bytes = b"") -> None:
    """From now on spans of this process go to `recorder`. `hash_key`: for `content` "hash"."""
    global _now  # noqa: PLW0603  # one per process, as OpenTelemetry's own provider
    _now = _Tracing(recorder, content, hash_key)


def uninstall() -> None:
    global _now  # noqa: PLW0603
    _now = _OFF


@contextmanager
def question(name: str, attributes: Mapping[str, Value] | None = None) -> Iterator[Span]:
    """The span that all others of a question stand under. Here is decided whether the question is sampled.

    It belongs to the caller's trace where the request came with a traceparent, whose decision it follows.
    """
    if (recorder := _now.recorder) is None:
        yield INVALID_SPAN
        return
    caller = trace.get_current_span().get_span_context()
    parent = caller if caller.is_valid else None
    trace_id = parent.trace_id if parent else random.getrandbits(128) or 1  # unique, not secret
    forced = parent is not None and parent.trace_flags.sampled
    if (parent is not None and not forced) or not recorder.takes(trace_id, forced=forced):
        ids = parent or SpanContext(trace_id, _new_id(), is_remote=False, trace_flags=_NOT_SAMPLED)
        with _current(NonRecordingSpan(ids)):  # neighbours are told that it is not sampled
            yield INVALID_SPAN
        return
    ids = SpanContext(
        trace_id, _new_id(), is_remote=False, trace_flags=_SAMPLED, trace_state=parent.trace_state if parent else None
    )
    own = RecordedSpan(
        recorder, name, ids, parent, kind=SpanKind.SERVER, attributes=attributes, question=None, forced=forced
    )
    own.question = (own.start_time, ids.span_id)
    with _Opened(own) as opened:
        yield opened


def span(
    name: str, attributes: Mapping[str, Value] | None = None, *, kind: SpanKind = SpanKind.INTERNAL
) -> "_Opened | _NotOpened":
    """One step, in a `with`. What it raises is raised on; of an error the span keeps the kind alone: messages quote."""
    parent = trace.get_current_span()
    if isinstance(parent, RecordedSpan):
        recorder, question, forced = parent._recorder, parent.question, parent.forced
    elif _now.recorder is not None and parent.get_span_context().trace_flags.sampled:
        recorder, question, forced = _now.recorder, None, True  # a process that another one's question has come to
    else:
        return _NOT_OPENED
    above = parent.get_span_context()
    ids = SpanContext(above.trace_id, _new_id(), is_remote=False, trace_flags=_SAMPLED, trace_state=above.trace_state)
    return _Opened(
        RecordedSpan(recorder, name, ids, above, kind=kind, attributes=attributes, question=question, forced=forced)
    )


class _Opened:
    """Makes a span the current one, and ends it."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: RecordedSpan) -> None:
        self._span = span

    def __enter__(self) -> Span:
        self._token: Token[Any] = context.attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        context.detach(self._token)
        if error is not None:
            self._span.attributes["error.type"] = type(error).__name__ if isinstance(error, Exception) else "cancelled"
            self._span.failed = True
        self._span.end()


class _NotOpened:
    __slots__ = ()

    def __enter__(self) -> Span:
        return INVALID_SPAN

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Nothing was opened."""


_NOT_OPENED = _NotOpened()


@contextmanager
def _current(span: Span) -> Iterator[None]:
    token = context.attach(trace.set_span_in_context(span))
    try:
        yield
    finally:
        context.detach(token)


def tell(opened: Span, key: str, text: Callable[[], str]) -> None:
    """Content for a span: asked for, cut or hashed as the settings say."""
    if _now.content == "off" or not opened.is_recording():
        return
    told = text()
    if _now.content == "hash":
        told = "hmac-sha256:" + hmac.new(_now.hash_key, told.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
    opened.set_attribute(key, told[:MAX_CONTENT_CHARACTERS])


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


def _new_id() -> int:
    return random.getrandbits(64) or 1  # unique, not secret
