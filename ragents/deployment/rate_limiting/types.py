"""The vocabulary of rate limits: priorities, buckets, what a request needs, and what was decided."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

from ragents.errors import InputError

BucketName = Literal["minute", "hour", "tokens", "cost"]
Reason = Literal["minute", "hour", "tokens", "cost", "concurrency"]
Source = Literal["memory", "redis", "local share"]

MINUTE_US, HOUR_US, DAY_US = 60_000_000, 3_600_000_000, 86_400_000_000
MICRO_USD = 1_000_000


class Priority(StrEnum):
    """In this order. What waits gets on by age as well: see Admission and RequestQueue."""

    CRITICAL = "CRITICAL"
    HIGH = "HIGH"
    NORMAL = "NORMAL"
    LOW = "LOW"

    @classmethod
    def of(cls, name: "Priority | str") -> "Priority":
        """InputError for what is none."""
        try:
            return cls(name)
        except ValueError:
            raise InputError(f"priority = {name!r}: expected one of {', '.join(cls)}", field="priority") from None

    @classmethod
    def _missing_(cls, value: object) -> "Priority | None":
        """Small letters do as well."""
        return cls.__members__.get(value.upper()) if isinstance(value, str) else None

    @property
    def rank(self) -> int:
        """0 is the most urgent."""
        return _RANKS[self]

    def at_most(self, highest: "Priority") -> "Priority":
        """This one, or `highest` where this one is above it."""
        return self if self.rank >= highest.rank else highest


_RANKS = {priority: rank for rank, priority in enumerate(Priority)}


@dataclass(frozen=True, slots=True)
class Bucket:
    """Holds `capacity`, gets `amount` back every `period_us`.

    Counted in parts of 1/period_us: per microsecond `amount` of them come back, so all arithmetic is in whole numbers.
    """

    name: BucketName
    period_us: int
    amount: int
    capacity: int
    argument: bytes = field(init=False, compare=False, repr=False)
    """as scripts take it: made once, and in one piece, since each argument costs the client CPU time"""

    def __post_init__(self) -> None:
        text = f"{self.name} {self.period_us} {self.amount} {self.capacity}"
        object.__setattr__(self, "argument", text.encode())

    def shared(self, processes: int) -> "Bucket":
        """A share of 1/processes, and never nothing. Slower rather than smaller, which needs no fractions."""
        return Bucket(self.name, self.period_us * processes, self.amount, max(1, self.capacity // processes))

    def full_again_s(self, remaining: int) -> int:
        """Seconds until nothing is missing, if nobody takes any more."""
        return math.ceil(max(0, self.capacity - remaining) * self.period_us / self.amount / 1e6)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one user may do. None: without that limit."""

    requests_per_minute: int = 60
    requests_per_hour: int = 1000
    burst_size: int = 10
    tokens_per_minute: int | None = None
    cost_usd_per_day: float | None = None
    concurrent_requests: int | None = None
    buckets: tuple[Bucket, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        buckets = [
            Bucket("minute", MINUTE_US, self.requests_per_minute, self.burst_size),
            Bucket("hour", HOUR_US, self.requests_per_hour, self.requests_per_hour),
        ]
        if self.tokens_per_minute is not None:
            buckets.append(Bucket("tokens", MINUTE_US, self.tokens_per_minute, self.tokens_per_minute))
        if self.cost_usd_per_day is not None:
            micro = max(1, round(self.cost_usd_per_day * MICRO_USD))
            buckets.append(Bucket("cost", DAY_US, micro, micro))
        object.__setattr__(self, "buckets", tuple(buckets))


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request takes, or how far (with either sign) it was off when it is settled."""

    requests: int = 1
    tokens: int = 0
    micro_usd: int = 0

    def of(self, name: BucketName) -> int:
        match name:
            case "minute" | "hour":
                return self.requests
            case "tokens":
                return self.tokens
            case "cost":
                return self.micro_usd

    def within(self, limits: Sequence[Bucket], share: int) -> "Demand":
        """No more than 1/share of `limits` can hold: else it would be refused for ever."""
        if share == 1:
            return self
        holds = {bucket.name: bucket.shared(share).capacity for bucket in limits}
        return Demand(
            min(self.requests, holds.get("minute", self.requests)),
            min(self.tokens, holds.get("tokens", self.tokens)),
            min(self.micro_usd, holds.get("cost", self.micro_usd)),
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """`wait_s` is when the same demand fits, 0 when it did. `remaining` is whole units in each bucket, debts are 0.

    `share`: it was decided on 1/share of each limit.
    """

    allowed: bool
    wait_s: float
    reason: Reason | None
    remaining: Mapping[BucketName, int]
    source: Source
    share: int = 1


class RateLimitBackend(Protocol):
    """All buckets of a user in one step: either every one of them gives, or none is touched.

    `lease` names one request in flight; None for limits without `concurrent_requests`. It ends by itself after
    `lease_s`, for a process that was killed.
    """

    async def take(
        self, user: str, demand: Demand, limits: Sequence[Bucket], *, lease: "Lease | None" = None
    ) -> Decision: ...

    async def settle(
        self, user: str, change: Demand, limits: Sequence[Bucket], *, source: Source, lease: "Lease | None" = None
    ) -> None:
        """Add `change` to what was taken, also beyond the capacity: a debt that later requests wait for.

        `source` is the decision's: where it was taken it is settled.
        """


@dataclass(frozen=True, slots=True)
class Lease:
    """One of at most `limit` requests of a user at the same time, for `lease_s` at the longest."""

    id: str
    limit: int
    lease_s: float
