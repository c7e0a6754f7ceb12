"""What was taken for one request, and how it is told."""

import math
from typing import Protocol

from ragents.deployment.rate_limiting.config import RateLimitConfig
from ragents.deployment.rate_limiting.types import MICRO_USD, Decision, Demand, Lease, Limits
from ragents.errors import Conflict, InputError, NotFound, PermissionDenied, RateLimited
from ragents.llm.types import Usage

CALLERS_MISTAKES = (InputError, NotFound, Conflict, PermissionDenied)
LIMIT_NAMES = {
    "minute": "requests per minute",
    "hour": "requests per hour",
    "tokens": "tokens per minute",
    "cost": "cost per day",
    "concurrency": "requests at the same time",
}


class Settling(Protocol):
    """The RateLimiter, as a reservation knows it."""

    config: RateLimitConfig

    async def settle(self, reservation: "Reservation", change: Demand) -> None: ...


class Reservation:
    """What was taken for one request, until it is settled. `async with` settles it by how the block ends.

    `begun` is for the holder to set when the request is being answered: who goes away then has had it.
    """

    def __init__(
        self, limiter: Settling, key: str, decision: Decision, demand: Demand, limits: Limits, lease: Lease | None
    ) -> None:
        self._limiter = limiter
        self.key, self.decision, self.limits, self.lease = key, decision, limits, lease
        self._demand = demand
        self._open = True
        self.begun = False

    async def __aenter__(self) -> "Reservation":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            await self.used()
        elif isinstance(error, CALLERS_MISTAKES):
            await self.refused()
        elif isinstance(error, Exception):
            await self.failed()
        else:
            await self.cancelled()

    async def used(self, usage: Usage | None = None, *, cache_hit: bool = False) -> None:
        """The request was answered, with this usage (None: not known, and what was reserved stays)."""
        requests = -1 if cache_hit and "cache_hit" in self._limiter.config.refund else 0
        if usage is None:
            await self._settle(Demand(requests))
            return
        tokens = usage.prompt_tokens + usage.completion_tokens
        micro_usd = self._demand.micro_usd if usage.cost_usd is None else round(usage.cost_usd * MICRO_USD)
        if cache_hit:
            tokens = micro_usd = 0
        await self._settle(Demand(requests, tokens - self._demand.tokens, micro_usd - self._demand.micro_usd))

    async def failed(self) -> None:
        """It came to nothing, and not by the caller's doing."""
        requests = -1 if "failure" in self._limiter.config.refund else 0
        await self._settle(Demand(requests, -self._demand.tokens, -self._demand.micro_usd))

    async def refused(self) -> None:
        """By the caller's mistake: the request counts, its tokens do not."""
        await self._settle(Demand(0, -self._demand.tokens, -self._demand.micro_usd))

    async def cancelled(self) -> None:
        """The caller went away. What had begun stays taken, its tokens too, as nobody knows what the model has used.

        Else an answer that is read to its last word and then hung up on would be free.
        """
        if self.begun:
            await self._settle(Demand(0))
            return
        requests = -1 if "cancel" in self._limiter.config.refund else 0
        await self._settle(Demand(requests, -self._demand.tokens, -self._demand.micro_usd))

    async def _settle(self, change: Demand) -> None:
        if not self._open:
            return
        self._open = False
        if self.lease is not None or any(change.of(bucket.name) for bucket in self.limits.buckets):
            await self._limiter.settle(self, change)


def refusal(decision: Decision, limits: Limits) -> RateLimited:
    allowed = {
        "minute": f"{limits.requests_per_minute}, {limits.burst_size} at once",
        "hour": str(limits.requests_per_hour),
        "tokens": str(limits.tokens_per_minute),
        "cost": f"{limits.cost_usd_per_day} USD",
        "concurrency": str(limits.concurrent_requests),
    }
    reason = decision.reason or "minute"
    here = f", of which this process gives 1/{decision.share}" if decision.share > 1 else ""
    return RateLimited(
        f"over the limit of {LIMIT_NAMES[reason]} ({allowed[reason]}{here}); try again in {in_words(decision.wait_s)}",
        retry_after_s=decision.wait_s,
        reason=reason,
        headers=headers(decision, limits),
    )


def headers(decision: Decision, limits: Limits) -> dict[str, str]:
    """RateLimit and RateLimit-Policy (IETF draft-ietf-httpapi-ratelimit-headers-10).

    Tokens and cost are told too; their units are tokens and millionths of a dollar. `t` is when the bucket is full.
    Where a share of the limits applies, it is the share that is told.
    """
    policy, now = [], []
    for whole in limits.buckets:
        bucket = whole if decision.share == 1 else whole.shared(decision.share)
        left = decision.remaining[bucket.name]
        policy.append(f'"{bucket.name}";q={bucket.amount};w={bucket.period_us // 1_000_000}')
        now.append(f'"{bucket.name}";r={left};t={bucket.full_again_s(left)}')
    return {"RateLimit-Policy": ", ".join(policy), "RateLimit": ", ".join(now)}


def in_words(seconds: float) -> str:
    """The two largest units: "5 h 55 min", "2 min 5 s"; below ten seconds with tenths and less."""
    if seconds < 10:
        return f"{max(0.001, seconds):.2g} s"
    left = math.ceil(seconds)
    parts = list[str]()
    for name, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {name}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 "))
