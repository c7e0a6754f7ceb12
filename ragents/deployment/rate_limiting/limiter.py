"""RateLimiter: what a user may do, decided, reserved and settled."""

import asyncio
import hashlib
import inspect
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ragents.deployment.rate_limiting.config import RateLimitConfig
from ragents.deployment.rate_limiting.entries import Entry, RequestQueue
from ragents.deployment.rate_limiting.memory import MemoryRateLimits
from ragents.deployment.rate_limiting.reservation import Reservation, refusal
from ragents.deployment.rate_limiting.types import (
    MICRO_USD,
    Decision,
    Demand,
    Lease,
    Limits,
    Priority,
    RateLimitBackend,
)
from ragents.deployment.rate_limiting.waiting import Waiting
from ragents.errors import DeadlineExceeded, InputError, RateLimited

if TYPE_CHECKING:
    from ragents.deployment.rate_limiting.shared import SharedRateLimits

DEFAULT_TENANT = "default"
ONE = Demand()
LOOK_EVERY_S = (0.01, 0.2)
"""How often an empty queue is looked at: at first, and later."""


class RateLimiter:
    """Token buckets per user, for all processes on the Redis of `config.redis_url`.

    `await initialize()` before use and `await close()` after it, or `async with`. Without Redis each of `processes`
    gives its share of the limits in its own memory; while Redis is away as well, of as many as were last seen there.
    """

    def __init__(
        self,
        config: RateLimitConfig | None = None,
        *,
        processes: int | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.config = config or RateLimitConfig()
        self.limits = self.config.limits
        self._processes = processes or self.config.replicas
        self._stack = AsyncExitStack()
        self._backend: RateLimitBackend = MemoryRateLimits(
            processes=self._processes, max_users=self.config.max_users, clock=clock
        )
        self._shared: SharedRateLimits | None = None
        self._queue: RequestQueue | None = None
        self._waiting = Waiting(most=self.config.max_queue)

    async def initialize(self) -> None:
        """Open what is configured, once. A Redis that is away is not an error: see `check`."""
        if self._queue is not None:
            return
        from ragents.deployment.rate_limiting.opening import open_backends  # noqa: PLC0415  # with its driver

        opened = await self._stack.enter_async_context(open_backends(self.config, processes=self._processes))
        self._queue, self._shared = opened.queue, opened.shared
        if opened.shared is not None:
            self._backend = opened.shared

    async def close(self) -> None:
        self._queue = None
        await self._stack.aclose()

    async def __aenter__(self) -> "RateLimiter":
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def backend(self) -> str:
        """Where the limits are counted now."""
        if self._shared is None:
            return "memory"
        if self._shared.problem is None:
            return "redis"
        return f"local share: 1/{self.processes} of each limit in this process"

    @property
    def processes(self) -> int:
        """Of so many this one gives its share: those seen on Redis when it was last there, or what was configured."""
        return self._processes if self._shared is None else self._shared.processes

    async def check(self) -> None:
        """For /health. BackendUnavailable while the local share applies."""
        if self._shared is not None:
            await self._shared.check()

    @property
    def degraded(self) -> bool:
        return self._shared is not None and self._shared.problem is not None

    # The published calls

    async def check_rate_limit(self, user_id: str, *, tenant: str = DEFAULT_TENANT) -> tuple[bool, float]:
        """Take one request: (True, 0.0), or (False, seconds until one is there) and nothing is taken."""
        # Without concurrent_requests: nobody would give the place back.
        decision = await self._counter().take(user_key(tenant, _named(user_id)), ONE, self.limits.buckets)
        return decision.allowed, decision.wait_s

    async def process_with_rate_limit(
        self,
        user_id: str,
        func: Callable[..., Any],
        *args: Any,
        priority: Priority | str = Priority.NORMAL,
        timeout: float | None = 30.0,  # noqa: ASYNC109  # the published name
        tenant: str = DEFAULT_TENANT,
        **kwargs: Any,
    ) -> Any:
        """Wait until the user's limits allow it, then `func(*args, **kwargs)`; its result.

        A plain function runs in a thread, which goes on when its time is over. RateLimited when it could not begin
        within `timeout` seconds, as soon as that is clear; DeadlineExceeded when it is not done by then. Among those
        who wait for one user in this process the highest priority goes first. What fails is refunded.
        """
        ends = None if timeout is None else time.monotonic() + timeout
        reservation = await self._reserve_in_line(tenant, _named(user_id), Priority.of(priority), ends)
        async with reservation:
            try:
                async with asyncio.timeout(None if ends is None else max(0.0, ends - time.monotonic())):
                    if inspect.iscoroutinefunction(func):
                        return await func(*args, **kwargs)
                    result = await asyncio.to_thread(func, *args, **kwargs)
                    return await result if inspect.isawaitable(result) else result
            except TimeoutError:
                if ends is not None and time.monotonic() >= ends:
                    raise DeadlineExceeded(f"not done within timeout = {timeout:g} s") from None
                raise

    async def enqueue_request(self, user: str, data: Any, priority: Priority | str = Priority.NORMAL) -> None:
        """Put a request into the queue that all processes share. InputError for what JSON cannot hold.

        BackendUnavailable while Redis is away, here and in `dequeue_request`.
        """
        _named(user, field="user")
        chosen = Priority.of(priority)
        rank = chosen.rank if self.config.enable_priority_queue else 0
        await self._opened_queue().put(Entry(user, data, chosen), rank=rank)

    async def dequeue_request(
        self,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # as in `process_with_rate_limit`
    ) -> tuple[str, Any, Priority]:
        """(user, data, priority) of the next request, which no other caller gets.

        Waits for one; TimeoutError after `timeout` seconds. What a process has taken and not finished is gone.
        """
        queue = self._opened_queue()
        ends = float("inf") if timeout is None else time.monotonic() + timeout
        pause_s, longest_s = LOOK_EVERY_S
        # Never cut off while it looks: the entry would be gone, and nobody would have it.
        while (entry := await queue.pop()) is None:
            if (left_s := ends - time.monotonic()) <= 0:
                raise TimeoutError(f"no request came within timeout = {timeout:g} s")
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, longest_s)
        return entry.user, entry.data, entry.priority

    # For the service

    async def reserve(self, user: str, *, tenant: str, limits: Limits | None = None, tokens: int = 0) -> Reservation:
        """Take a request, with an estimate of its tokens. RateLimited says when to come back."""
        limits = limits or self.limits
        decision, demand, lease = await self._take(tenant, user, limits, tokens)
        if not decision.allowed:
            raise refusal(decision, limits)
        return Reservation(self, user_key(tenant, user), decision, demand, limits, lease)

    async def settle(self, reservation: Reservation, change: Demand) -> None:
        await self._backend.settle(
            reservation.key,
            change,
            reservation.limits.buckets,
            source=reservation.decision.source,
            lease=reservation.lease,
        )

    async def _take(self, tenant: str, user: str, limits: Limits, tokens: int) -> tuple[Decision, Demand, Lease | None]:
        demand = Demand(1, _held(tokens, limits.tokens_per_minute), round(self.config.reserve_cost_usd * MICRO_USD))
        lease = None
        if limits.concurrent_requests is not None:
            lease = Lease(uuid.uuid4().hex, limits.concurrent_requests, self.config.lease_s)
        decision = await self._counter().take(user_key(tenant, user), demand, limits.buckets, lease=lease)
        return decision, demand.within(limits.buckets, decision.share), lease  # what was taken, where it was a share

    async def _reserve_in_line(self, tenant: str, user: str, priority: Priority, ends: float | None) -> Reservation:
        rank = priority.rank if self.config.enable_priority_queue else 0
        key = user_key(tenant, user)
        async with self._waiting.stand(key, rank=rank) as standing:
            while True:
                left_s = float("inf") if ends is None else ends - time.monotonic()
                pause_s = left_s
                if standing.first:
                    decision, demand, lease = await self._take(tenant, user, self.limits, 0)
                    if decision.allowed:
                        return Reservation(self, key, decision, demand, self.limits, lease)
                    if decision.wait_s > left_s:
                        raise refusal(decision, self.limits)
                    pause_s = decision.wait_s
                elif left_s <= 0:
                    raise RateLimited("others of this user wait before it; try again later", retry_after_s=1.0)
                await standing.moved(min(pause_s, 3600.0))

    def _counter(self) -> RateLimitBackend:
        if self.config.redis_url is not None:
            self._opened_queue()
        return self._backend

    def _opened_queue(self) -> RequestQueue:
        if self._queue is None:
            raise RuntimeError("call `await limiter.initialize()` first, or use `async with`")
        return self._queue


@asynccontextmanager
async def open_rate_limiter(config: RateLimitConfig, *, processes: int) -> AsyncIterator[RateLimiter]:
    async with RateLimiter(config, processes=processes) as limiter:
        yield limiter


def _named(user: str, *, field: str = "user_id") -> str:
    """Whoever has no name would share the limits of all the others without one."""
    if user is None or user == "":
        raise InputError(
            f"{field} = {user!r}: expected who asks; give those without a name one, such as 'anonymous'", field=field
        )
    return user


@lru_cache(maxsize=10_000)
def user_key(tenant: str, user: str) -> str:
    """A name for keys: no tenant's or user's own name can reach into another's, and none is shown."""
    return hashlib.sha256(f"{len(tenant)}:{tenant}{user}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _held(tokens: int, capacity: int | None) -> int:
    """A demand above the capacity would be refused for ever; the rest becomes a debt when it is settled."""
    return min(tokens, capacity) if capacity is not None else 0
