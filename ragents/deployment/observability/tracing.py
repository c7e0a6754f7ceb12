"""Where spans go: one provider for the process, one pipe for each destination that is configured."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from opentelemetry import trace

from ragents import tracing
from ragents.deployment.observability.config import ObservabilityConfig
from ragents.deployment.observability.drops import spans_dropped

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from ragents.deployment.observability.pipe import OnDrop

ENCODER = "ragents-encoder"
"""The service of encoder_service.py: its spans belong to questions of another process."""
MAX_ATTRIBUTE_CHARACTERS = 8_000
MAX_ATTRIBUTES = 64


@asynccontextmanager
async def open_tracing(
    config: ObservabilityConfig, *, service: str, on_drop: "OnDrop" = spans_dropped
) -> AsyncIterator[None]:
    """Spans are made as long as this is open, and sent where the settings say. Without an address nothing is made.

    Closing takes no longer than a pipe's CLOSE_S. `on_drop` is called from other threads.
    """
    pipes = _exporters(config, opik=service != ENCODER)
    if not pipes:
        yield
        return
    # Imported here: without an address no process loads the SDK's exporters.
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415

    from ragents.deployment.observability.pipe import Pipe  # noqa: PLC0415

    provider = TracerProvider(
        sampler=ParentBasedTraceIdRatio(max(rate for _, _, rate in pipes)),
        resource=Resource.create({"service.name": service, "service.version": version("ragents")}),
        span_limits=SpanLimits(max_attributes=MAX_ATTRIBUTES, max_span_attribute_length=MAX_ATTRIBUTE_CHARACTERS),
        shutdown_on_exit=False,
    )
    for name, exporter, rate in pipes:
        on_drop(name, "queue_full", 0)
        provider.add_span_processor(
            Pipe(name, exporter, max_spans=config.max_queued_spans, sample_rate=rate, on_drop=on_drop)
        )
    key = config.trace_hash_key.get_secret_value() if config.trace_hash_key else secrets.token_hex(32)
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(provider)  # so that spans of a user's own tools join
    tracing.install(provider.get_tracer("ragents"), content=config.trace_content, hash_key=key.encode())
    try:
        yield
    finally:
        tracing.uninstall()
        await asyncio.to_thread(provider.shutdown)


def _exporters(config: ObservabilityConfig, *, opik: bool) -> "list[tuple[str, SpanExporter, float]]":
    """Name, exporter and share of each destination."""
    found: list[tuple[str, SpanExporter, float]] = []
    if config.otlp.endpoint is not None and config.otlp.sample_rate > 0:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        exporter = OTLPSpanExporter(
            endpoint=config.otlp.endpoint,
            headers={name: value.get_secret_value() for name, value in config.otlp.headers.items()},
            timeout=config.export_timeout_s,
        )
        found.append(("otlp", exporter, config.otlp.sample_rate))
    if opik and config.opik.address is not None and config.opik.sample_rate > 0:
        from ragents.deployment.observability.opik import OpikExporter  # noqa: PLC0415

        found.append(("opik", OpikExporter(config.opik, timeout_s=config.export_timeout_s), config.opik.sample_rate))
    return found
