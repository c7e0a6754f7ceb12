"""Spans that were lost, counted. On its own, since the encoder's process counts them and needs no agents."""

from functools import cache

from prometheus_client import Counter


@cache
def _dropped() -> Counter:
    """Made when it is first needed: BentoML has named the directory for several workers by then."""
    return Counter("rag_tracing_dropped_total", "Spans that were lost", ["destination", "reason"])


def spans_dropped(destination: str, reason: str, spans: int) -> None:
    """From any thread. 0 makes the series, so that an alert on its rate has a beginning."""
    _dropped().labels(destination, reason).inc(spans)
