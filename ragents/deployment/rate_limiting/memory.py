"""The limits of one process: what take.lua and settle.lua do, in Python."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ragents.deployment.rate_limiting.types import (
    Bucket,
    BucketName,
    Decision,
    Demand,
    Lease,
    Reason,
    Source,
)

ASK_AGAIN_US = 1_000_000


@dataclass(slots=True)
class _User:
    """Per bucket when it was looked at and what is missing then, in parts; the leases and their ends."""

    missing: dict[BucketName, tuple[int, int]] = field(default_factory=dict)
    leases: dict[str, int] = field(default_factory=dict)


class MemoryRateLimits:
    """A RateLimitBackend for one event loop. `clock` gives microseconds.

    Gives 1/`processes` of each limit; when that changes, each bucket stays as full as it was. Counts for `max_users`;
    beyond that the one that was idle longest is forgotten.
    """

    def __init__(
        self,
        *,
        processes: int = 1,
        max_users: int = 100_000,
        clock: Callable[[], int] | None = None,
        source: Source = "memory",
    ) -> None:
        self.processes = processes
        self._clock = clock or (lambda: time.monotonic_ns() // 1000)
        self._max_users = max_users
        self._source = source
        self._users: OrderedDict[str, _User] = OrderedDict()

    async def take(
        self, user: str, demand: Demand, limits: Sequence[Bucket], *, lease: Lease | None = None
    ) -> Decision:
        now, held = self._clock(), self._user(user)
        limits, demand, lease = self._share(limits), demand.within(limits, self.processes), self._smaller(lease)
        wait_us, reason = 0, None
        missing: list[int] = []
        for bucket in limits:
            before = _missing(held, bucket, now)
            after = before + demand.of(bucket.name) * bucket.period_us
            full = bucket.capacity * bucket.period_us
            missing.append(after)
            # A demand of nothing is refused too while there is a debt.
            too_much = max(after - full, before - full + 1)
            if too_much > 0 and (until := -(-too_much // bucket.amount)) > wait_us:
                wait_us, reason = until, bucket.name
        busy_us = _busy(held, lease, now)
        found: Reason | None = reason
        if busy_us > wait_us:
            wait_us, found = busy_us, "concurrency"
        if wait_us == 0:
            for bucket, after in zip(limits, missing, strict=True):
                held.missing[bucket.name] = (now, after)
            if lease is not None:
                held.leases[lease.id] = now + int(lease.lease_s * 1e6)
        remaining = {
            bucket.name: max(0, bucket.capacity * bucket.period_us - _missing(held, bucket, now)) // bucket.period_us
            for bucket in limits
        }
        return Decision(wait_us == 0, wait_us / 1e6, found, remaining, self._source, self.processes)

    async def settle(
        self, user: str, change: Demand, limits: Sequence[Bucket], *, source: Source, lease: Lease | None = None
    ) -> None:
        now, held = self._clock(), self._user(user)
        if lease is not None:
            held.leases.pop(lease.id, None)
        for bucket in self._share(limits):
            if (by := change.of(bucket.name)) != 0:
                held.missing[bucket.name] = (now, max(0, _missing(held, bucket, now) + by * bucket.period_us))

    def _share(self, limits: Sequence[Bucket]) -> Sequence[Bucket]:
        return limits if self.processes == 1 else [bucket.shared(self.processes) for bucket in limits]

    def _smaller(self, lease: Lease | None) -> Lease | None:
        if lease is None or self.processes == 1:
            return lease
        return Lease(lease.id, max(1, lease.limit // self.processes), lease.lease_s)

    def _user(self, user: str) -> _User:
        held = self._users.get(user)
        if held is None:
            held = self._users[user] = _User()
            if len(self._users) > self._max_users:
                self._users.popitem(last=False)
        else:
            self._users.move_to_end(user)
        return held


def _missing(held: _User, bucket: Bucket, now: int) -> int:
    at, missing = held.missing.get(bucket.name, (now, 0))
    return max(0, missing - max(0, now - at) * bucket.amount)


def _busy(held: _User, lease: Lease | None, now: int) -> int:
    """Microseconds after which to ask again, as nobody knows when one ends; 0 where a place is free."""
    if lease is None:
        return 0
    for each in [each for each, until in held.leases.items() if until <= now]:
        del held.leases[each]
    free = len(held.leases) < lease.limit or lease.id in held.leases
    return 0 if free else min(ASK_AGAIN_US, max(1, min(held.leases.values()) - now))
