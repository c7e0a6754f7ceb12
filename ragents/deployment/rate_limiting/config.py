"""Settings of the rate limits. The names of the first five are published."""

from typing import Literal

from pydantic import Field, SecretStr

from ragents.config.base import Config
from ragents.deployment.rate_limiting.types import Limits

Refund = Literal["failure", "cancel", "cache_hit"]


class RateLimitConfig(Config):
    """What each user may do, over all processes when `redis_url` is set.

    A minute's bucket holds `burst_size` and gets `requests_per_minute` back per minute; an hour's holds and gets back
    `requests_per_hour`. A request passes when both have one for it.
    """

    requests_per_minute: int = Field(default=60, ge=1, le=1_000_000)
    requests_per_hour: int = Field(default=1000, ge=1, le=2_000_000)
    burst_size: int = Field(default=10, ge=1, le=1_000_000)
    enable_priority_queue: bool = Field(default=True, description="what waits is served by priority, not by arrival")
    redis_url: SecretStr | None = Field(default=None, description="None: counted in this process alone")

    enabled: bool | None = Field(
        default=None, description="None: for callers with a key, not for the keyless one on this machine"
    )
    tokens_per_minute: int | None = Field(default=None, ge=1, le=100_000_000)
    cost_usd_per_day: float | None = Field(default=None, gt=0, le=1_000_000)
    concurrent_requests: int | None = Field(default=None, ge=1, le=10_000)
    reserve_tokens: int = Field(
        default=1000, ge=0, description="taken for an answer before it is written, where a request has no max_tokens"
    )
    reserve_cost_usd: float = Field(default=0.0, ge=0, description="taken for an answer before its cost is known")
    refund: tuple[Refund, ...] = Field(
        default=("failure", "cancel"), description="what gives the request back: failure, cancel, cache_hit"
    )
    replicas: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="servers, at the least: while Redis is away each process gives its share of those last seen there",
    )
    redis_timeout_s: float = Field(default=0.05, gt=0, le=5, description="a decision waits so long for Redis")
    retry_s: float = Field(default=1.0, gt=0, le=60, description="pause before Redis is tried again")
    pool_size: int = Field(default=100, ge=1, le=500)
    lease_s: float = Field(
        default=360.0, gt=0, description="a place of concurrent_requests is free again so long after a crash"
    )
    max_users: int = Field(default=100_000, ge=1, description="users that a process counts for; the longest idle go")
    max_queue: int = Field(default=10_000, ge=1, description="entries of enqueue_request, and callers that wait")
    aging_s: float = Field(
        default=10.0, gt=0, description="an entry of enqueue_request that waited so long counts one priority higher"
    )

    @property
    def limits(self) -> Limits:
        return Limits(
            requests_per_minute=self.requests_per_minute,
            requests_per_hour=self.requests_per_hour,
            burst_size=self.burst_size,
            tokens_per_minute=self.tokens_per_minute,
            cost_usd_per_day=self.cost_usd_per_day,
            concurrent_requests=self.concurrent_requests,
        )
