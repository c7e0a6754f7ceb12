"""Where spans go: a pipe for each destination that is configured."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from ragents import tracing
from ragents.deployment.observability.config import ObservabilityConfig
from ragents.deployment.observability.drops import spans_dropped
from ragents.deployment.observability.pipe import OnDrop, Pipe, Pipes

ENCODER = "ragents-encoder"
"""The service of encoder_service.py: its spans belong to questions of another process."""


@asynccontextmanager
async def open_tracing(
    config: ObservabilityConfig, *, service: str, on_drop: OnDrop = spans_dropped
) -> AsyncIterator[None]:
    """Spans are made as long as this is open, and sent where the settings say. Without an address nothing is made.

    Closing takes no longer than a pipe's CLOSE_S.
    """
    pipes = _open_pipes(config, service, on_drop)
    if not pipes:
        yield
        return
    key = config.trace_hash_key.get_secret_value() if config.trace_hash_key else secrets.token_hex(32)
    recorder = Pipes(pipes)
    tracing.install(recorder, content=config.trace_content, hash_key=key.encode())
    try:
        yield
    finally:
        tracing.uninstall()
        await asyncio.to_thread(recorder.close)


def _open_pipes(config: ObservabilityConfig, service: str, on_drop: OnDrop) -> list[Pipe]:
    """The libraries of a destination are loaded where it is configured."""
    found, timeout_s, most = list[Pipe](), config.export_timeout_s, config.max_queued_spans
    if config.otlp.endpoint is not None and config.otlp.sample_rate > 0:
        from ragents.deployment.observability.otlp import OtlpExporter  # noqa: PLC0415

        otlp = OtlpExporter(config.otlp, service=service, version=version("ragents"), timeout_s=timeout_s)
        found.append(Pipe("otlp", otlp, max_spans=most, sample_rate=config.otlp.sample_rate, on_drop=on_drop))
    if service != ENCODER and config.opik.address is not None and config.opik.sample_rate > 0:
        from ragents.deployment.observability.opik import OpikExporter  # noqa: PLC0415

        opik, rate = OpikExporter(config.opik, timeout_s=timeout_s), config.opik.sample_rate
        found.append(Pipe("opik", opik, max_spans=most, sample_rate=rate, on_drop=on_drop, follows_caller=False))
    for pipe in found:
        on_drop(pipe.name, "queue_full", 0)
    return found
