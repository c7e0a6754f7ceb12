"""The vocabulary of durable threads: settings, and who may write to a thread."""

import base64
import binascii
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from ragents.config.base import Config

REDIS_TTL_S = 3600.0
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class StateMemory:
    """Of a Redis that keeps threads (of a cluster: its primaries together).

    `evicted_keys` counts since the server began; `may_evict`: its policy and maxmemory let it. `fullest`: 0..1 of
    maxmemory, 0 where there is none.
    """

    evicted_keys: int
    may_evict: bool
    fullest: float


class CheckpointConfig(Config):
    """`postgres_url` absent: the store's own database. "memory" forgets with the process: for tests.

    Threads on Redis are gone an hour after their last use; on Postgres they stay, unless `ttl_seconds` says otherwise.
    """

    backend: Literal["postgres", "redis", "memory"] = "postgres"
    redis_url: SecretStr = SecretStr("redis://localhost:6379/1")
    redis_cluster: bool = Field(default=False, description="redis_url names one node of a Redis cluster")
    postgres_url: SecretStr | None = None
    ttl_seconds: float | None = Field(
        default=None, gt=0, description="after the last use; Redis without it: 3600, Postgres without it: never"
    )
    enable_compression: bool = True
    encryption_keys: list[SecretStr] = Field(
        default_factory=list, description="base64 of 32 bytes each; the first encrypts, all decrypt"
    )
    max_checkpoints_per_thread: int | None = Field(
        default=10, ge=1, description="of each namespace; what a thread needs to go on is never trimmed"
    )
    allowed_types: list[str] = Field(
        default_factory=list, description="package.module.Class of state values that may be read back"
    )
    pool_size: int = Field(default=10, ge=1, le=500)
    pooler: bool = Field(default=False, description="postgres_url is the address of PgBouncer in transaction mode")
    connect_timeout_s: float = Field(default=10.0, gt=0)
    acquire_timeout_s: float = Field(default=5.0, gt=0)
    statement_timeout_s: float = Field(default=10.0, gt=0)
    sweep_every_s: float = Field(default=60.0, gt=0, description="Postgres with ttl_seconds: pause between sweeps")

    @field_validator("encryption_keys")
    @classmethod
    def _keys_have_the_right_length(cls, keys: list[SecretStr]) -> list[SecretStr]:
        for number, key in enumerate(keys):
            try:
                size = len(base64.b64decode(key.get_secret_value(), validate=True))
            except (binascii.Error, ValueError):
                raise ValueError(f"key {number} is not base64; make one with: openssl rand -base64 32") from None
            if size != KEY_BYTES:
                raise ValueError(f"key {number} has {size} bytes instead of {KEY_BYTES}: openssl rand -base64 32")
        return keys

    @field_validator("allowed_types")
    @classmethod
    def _types_are_dotted(cls, names: list[str]) -> list[str]:
        for name in names:
            if "." not in name or not all(part.isidentifier() for part in name.split(".")):
                raise ValueError(f"{name!r} is not of the form package.module.Class")
        return names

    @property
    def keys(self) -> list[bytes]:
        return [base64.b64decode(key.get_secret_value()) for key in self.encryption_keys]

    @property
    def ttl_s(self) -> float | None:
        """What applies: seconds after the last use, None for ever."""
        return REDIS_TTL_S if self.ttl_seconds is None and self.backend == "redis" else self.ttl_seconds
