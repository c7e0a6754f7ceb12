"""A pipe of spans to one destination: bounded, off the request's path, and every span that is lost is counted."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

log = logging.getLogger(__name__)

Reason = Literal["queue_full", "export_failed", "closed"]
OnDrop = Callable[[str, Reason, int], None]
"""Destination, reason, number of spans."""
EVERY_MS = 1_000.0
BATCH_SPANS = 256
CLOSE_S = 2.0
SAY_EVERY_S = 60.0


class Pipe(SpanProcessor):
    """OpenTelemetry's batching, within bounds that hold while the destination hangs.

    `max_spans` wait or are on their way at most. `sample_rate` is of whole traces, within what the provider samples.
    """

    def __init__(
        self, name: str, exporter: SpanExporter, *, max_spans: int, sample_rate: float, on_drop: OnDrop
    ) -> None:
        self._name, self._max_spans, self._on_drop = name, max_spans, on_drop
        self._bound = TraceIdRatioBased.get_bound_for_rate(sample_rate)
        self._waiting = 0
        self._lock = threading.Lock()
        self._exporter = _Counted(name, exporter, self._left, on_drop)
        self._batches = BatchSpanProcessor(
            self._exporter,
            max_queue_size=max_spans,
            schedule_delay_millis=EVERY_MS,
            max_export_batch_size=min(BATCH_SPANS, max_spans),
        )

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing: spans are read when they have ended."""

    def on_end(self, span: ReadableSpan) -> None:
        context = span.context
        if context is None or context.trace_id & TraceIdRatioBased.TRACE_ID_LIMIT >= self._bound:
            return
        with self._lock:
            full = self._waiting >= self._max_spans
            self._waiting += not full
        if full:
            self._on_drop(self._name, "queue_full", 1)
        else:
            self._batches.on_end(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._batches.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Sends what waits, for CLOSE_S at most; the rest is lost and counted."""
        closing = threading.Thread(target=self._batches.shutdown, name=f"close-{self._name}", daemon=True)
        closing.start()
        closing.join(CLOSE_S)
        self._exporter.close()  # from here on a batch is only counted
        if closing.is_alive():
            with self._lock:
                lost, self._waiting = self._waiting, 0
            self._on_drop(self._name, "closed", lost)

    def _left(self, spans: int) -> None:
        with self._lock:
            self._waiting = max(0, self._waiting - spans)


class _Counted(SpanExporter):
    """Says what did not arrive, and says it once a minute."""

    def __init__(self, name: str, inner: SpanExporter, left: Callable[[int], None], on_drop: OnDrop) -> None:
        self._name, self._inner, self._left, self._on_drop = name, inner, left, on_drop
        self._closed = False
        self._lost, self._say_at = 0, 0.0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._closed:  # what still waited has been counted
            return SpanExportResult.FAILURE
        try:
            result, why = self._inner.export(spans), "it did not take them"
        except Exception as error:  # a library's own; the thread that exports must go on
            result, why = SpanExportResult.FAILURE, type(error).__name__
        if self._closed:
            return result
        self._left(len(spans))
        if result is not SpanExportResult.SUCCESS:
            self._on_drop(self._name, "export_failed", len(spans))
            self._say(len(spans), why)
        return result

    def close(self) -> None:
        self._closed = True

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)

    def _say(self, spans: int, why: str) -> None:
        self._lost += spans
        if time.monotonic() >= self._say_at:
            self._say_at = time.monotonic() + SAY_EVERY_S
            log.warning("%s: %d spans could not be delivered (%s); answers do not wait", self._name, self._lost, why)
            self._lost = 0
