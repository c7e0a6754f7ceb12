"""Settings of the conversation store."""

from typing import Literal

from pydantic import Field, SecretStr

from ragents.config.base import Config


class CheckpointConfig(Config):
    """`postgres_url` absent: the store's own database. "memory" forgets with the process: for tests."""

    backend: Literal["postgres", "memory"] = "postgres"
    postgres_url: SecretStr | None = None
    pool_size: int = Field(default=5, ge=1, le=100)
    connect_timeout_s: float = Field(default=10.0, gt=0)
    statement_timeout_s: float = Field(default=10.0, gt=0)
