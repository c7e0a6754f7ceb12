"""Admission: so many questions at once, then a bounded queue by priority, then a clear refusal."""

import asyncio
import heapq
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ragents.deployment.rate_limiting.types import Priority
from ragents.errors import Overloaded

SMOOTHING = 0.2
"""Weight of the newest run in the moving average that Retry-After is estimated from."""


class Admission:
    """For one event loop. Within a priority: first come, first served."""

    def __init__(self, *, max_in_flight: int, max_queue: int, queue_timeout_s: float) -> None:
        self._max_in_flight, self._max_queue, self._queue_timeout_s = max_in_flight, max_queue, queue_timeout_s
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._average_run_s = 1.0
        self.in_flight = 0

    @property
    def queued(self) -> int:
        return len(self._waiting)

    @asynccontextmanager
    async def admit(self, priority: Priority | str = Priority.NORMAL) -> AsyncIterator[float]:
        """The milliseconds spent waiting. Overloaded when the queue is full or the wait too long."""
        arrived = time.perf_counter()
        await self._enter(Priority(priority))
        started = time.perf_counter()
        try:
            yield (started - arrived) * 1000
        finally:
            self._average_run_s += SMOOTHING * (time.perf_counter() - started - self._average_run_s)
            self._leave()

    async def _enter(self, priority: Priority) -> None:
        if self.in_flight < self._max_in_flight:
            self.in_flight += 1
            return
        if len(self._waiting) >= self._max_queue:
            raise self._overloaded(f"{self.in_flight} questions are being answered and {self.queued} wait")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (priority.rank, next(self._numbers), turn)
        heapq.heappush(self._waiting, entry)
        try:
            async with asyncio.timeout(self._queue_timeout_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._leave()  # the place came in the moment of giving up: it goes to the next
            elif entry in self._waiting:
                self._waiting.remove(entry)
                heapq.heapify(self._waiting)
            if isinstance(error, TimeoutError):
                raise self._overloaded(f"waited {self._queue_timeout_s:g} s for a place") from None
            raise

    def _leave(self) -> None:
        """A place goes straight to the first who waits, so that nobody slips in between."""
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self.in_flight -= 1

    def _overloaded(self, message: str) -> Overloaded:
        rounds = (self.queued + 1) / self._max_in_flight
        return Overloaded(f"{message}; try again later", retry_after_s=max(1.0, rounds * self._average_run_s))
