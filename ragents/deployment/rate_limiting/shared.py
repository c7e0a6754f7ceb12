"""Limits on Redis, and what happens while it is away: a share of them, counted here, never all and never nothing."""

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from ragents.deployment.rate_limiting.memory import MemoryRateLimits
from ragents.deployment.rate_limiting.types import Bucket, Decision, Demand, Lease, RateLimitBackend, Source
from ragents.errors import BackendUnavailable

log = logging.getLogger(__name__)

MAX_OWED = 10_000
"""Places in flight that Redis is still to be told the end of; the oldest end there by themselves."""


class SharedRateLimits:
    """`shared` decides while it answers; else `local`, which gives a share of each limit.

    A call that fails costs its time limit once; then `shared` is left alone for `retry_s`, and one call at a time
    tries it again. The local count is not carried over to `shared`, nor the other way round. `probe` says whether
    `shared` can count, and how many processes share it: of so many the local share is one, from then on.
    """

    def __init__(
        self,
        shared: RateLimitBackend,
        local: MemoryRateLimits,
        *,
        retry_s: float,
        probe: Callable[[], Awaitable[int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared, self._local = shared, local
        self._retry_s, self._probe, self._clock = retry_s, probe, clock
        self._away_until: float | None = None
        self._trying = False
        self._problem: BackendUnavailable | None = None
        self._owed: deque[tuple[str, Lease]] = deque(maxlen=MAX_OWED)

    @property
    def problem(self) -> BackendUnavailable | None:
        """Why the local share applies, or None."""
        return self._problem

    @property
    def processes(self) -> int:
        """Of so many the local share is one."""
        return self._local.processes

    async def take(
        self, user: str, demand: Demand, limits: Sequence[Bucket], *, lease: Lease | None = None
    ) -> Decision:
        if self._may_try():
            try:
                decision = await self._shared.take(user, demand, limits, lease=lease)
            except BackendUnavailable as error:
                self._owe(user, lease)  # it may have been given
                self._lost(error)
            except BaseException:
                self._owe(user, lease)
                raise
            else:
                self._found()
                return decision
            finally:
                self._trying = False
        return await self._local.take(user, demand, limits, lease=lease)

    async def settle(
        self, user: str, change: Demand, limits: Sequence[Bucket], *, source: Source, lease: Lease | None = None
    ) -> None:
        """What Redis does not hear of, because it is away, it forgets in time; the end of a lease is told later."""
        if source == "local share":
            await self._local.settle(user, change, limits, source=source, lease=lease)
        elif self._may_try():
            try:
                await self._shared.settle(user, change, limits, source=source, lease=lease)
                self._found()
            except BackendUnavailable as error:
                self._owe(user, lease)
                self._lost(error)
            except BaseException:
                self._owe(user, lease)
                raise
            finally:
                self._trying = False
        else:
            self._owe(user, lease)

    async def check(self) -> None:
        """For /health: BackendUnavailable while the local share applies. Finds out whether that still must be."""
        try:
            self._local.processes = await self._probe()
        except BackendUnavailable as error:
            self._lost(error)
            raise
        self._found()

    async def release(self) -> None:
        """End the leases whose end Redis has not heard of. BackendUnavailable; then the rest is for the next time."""
        while self._owed:
            user, lease = self._owed.popleft()
            try:
                await self._shared.settle(user, Demand(0), (), source="redis", lease=lease)
            except BackendUnavailable:
                self._owe(user, lease)
                raise

    def _owe(self, user: str, lease: Lease | None) -> None:
        if lease is not None:
            self._owed.append((user, lease))

    def _may_try(self) -> bool:
        if self._away_until is None:
            return True
        if self._trying or self._clock() < self._away_until:
            return False
        self._trying = True
        return True

    def _lost(self, error: BackendUnavailable) -> None:
        if self._problem is None:
            log.warning("%s; until it is back each process gives its share of the limits", error)
        self._problem = error
        self._away_until = self._clock() + self._retry_s

    def _found(self) -> None:
        if self._problem is not None:
            log.warning("limits: Redis is back")
        self._problem, self._away_until = None, None
