"""Settings of the server itself."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from ragents.config.base import Config


class ServingConfig(Config):
    """How the server listens and what it admits. `max_in_flight` and `max_queue` hold for each worker."""

    host: str = "127.0.0.1"
    port: int = Field(default=3000, ge=1, le=65_535)
    workers: int = Field(default=1, ge=1, le=64)
    encoder: Literal["process", "service"] = Field(
        default="process", description="where the encoder runs: in each worker, or in a process that they share"
    )
    encoder_timeout_s: float = Field(default=10.0, gt=0, description="service only: longest request to it; then 503")
    timeout_s: float = Field(default=300.0, gt=0, description="a request that takes longer gets 504")
    graceful_shutdown_s: int = Field(default=30, ge=1, description="time that requests in flight have after SIGTERM")
    max_in_flight: int = Field(default=50, ge=1, description="questions answered at once")
    max_queue: int = Field(default=1000, ge=0, description="questions that wait for a place; the next one gets 429")
    queue_timeout_s: float = Field(default=30.0, gt=0, description="a question that waited longer gets 429")
    aging_s: float = Field(
        default=5.0,
        gt=0,
        description="a question waits so long for each higher priority; then it has every fourth place",
    )
    resume_grace_s: float = Field(
        default=0.0, ge=0, le=3600, description="so long a stream goes on without a reader, who may come back for it"
    )
    max_body_mb: float = Field(default=1.0, gt=0, le=1024)
    max_query_characters: int = Field(default=8_000, ge=1, le=100_000)
    max_batch_size: int = Field(default=8, ge=1, le=100)
    sample_documents: Path | None = Field(
        default=None, description="ingested at start when the embedded store is empty; never into a store of one's own"
    )
