"""Places for one event loop, and the queue before them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ragents.deployment.admission.fair_queue import FairQueue, Waiting
from ragents.deployment.rate_limiting.types import Priority
from ragents.errors import Overloaded

SMOOTHING = 0.2
"""Weight of the newest run in the moving average that waits are estimated from."""


class Admission:
    """At most `max_in_flight` at once. Who comes then waits, unless it could not have a place in time."""

    def __init__(self, *, max_in_flight: int, max_queue: int, queue_timeout_s: float, aging_s: float = 5.0) -> None:
        self._max_in_flight, self._queue_timeout_s = max_in_flight, queue_timeout_s
        self._queue = FairQueue(aging_s=aging_s, max_entries=max_queue)
        self._turns: dict[Waiting, asyncio.Future[None]] = {}
        self._average_run_s = 1.0
        self.in_flight = 0

    @property
    def queued(self) -> int:
        return len(self._queue)

    def depth(self) -> dict[Priority, int]:
        """How many wait, by the priority they came with."""
        return self._queue.depth()

    @asynccontextmanager
    async def admit(
        self,
        priority: Priority | str = Priority.NORMAL,
        *,
        user: str = "",
        weight: float = 1.0,
        deadline_s: float | None = None,
    ) -> AsyncIterator[float]:
        """The milliseconds spent waiting.

        Overloaded at once when the queue is full of those who stand better, or when the wait would be longer than
        `deadline_s` (at most the queue's own bound); later when it was, or when somebody who stands better came.
        """
        entry = Waiting(user, Priority(priority), time.monotonic(), weight)
        most_s = self._queue_timeout_s if deadline_s is None else min(deadline_s, self._queue_timeout_s)
        await self._enter(entry, most_s)
        started, estimate_s = time.monotonic(), self._average_run_s
        self._queue.started(entry, estimate_s)
        try:
            yield (started - entry.arrived) * 1000
        finally:
            run_s = time.monotonic() - started
            self._queue.settled(entry, estimate_s, run_s)
            self._average_run_s += SMOOTHING * (run_s - self._average_run_s)
            self._leave()

    async def _enter(self, entry: Waiting, most_s: float) -> None:
        if self.in_flight < self._max_in_flight:
            self.in_flight += 1
            return
        wait_s = self._wait_s(entry)
        if wait_s > most_s:
            raise Overloaded(
                f"{self.in_flight} questions are being answered and {self.queued} wait: it would take about "
                f"{wait_s:.0f} s, and at most {most_s:g} s are waited; try again later",
                retry_after_s=wait_s,
                reason="deadline",
            )
        self._push(entry, wait_s)
        turn = self._turns[entry] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(most_s):
                await turn
        except BaseException as error:
            self._queue.remove(entry)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._leave()  # the place came in the moment of giving up: it goes to the next
            if isinstance(error, TimeoutError):
                raise Overloaded(
                    f"waited {most_s:g} s for a place; try again later",
                    retry_after_s=max(1.0, self._wait_s(entry)),
                    reason="queue_timeout",
                ) from None
            raise
        finally:
            del self._turns[entry]

    def _push(self, entry: Waiting, wait_s: float) -> None:
        out = self._queue.push(entry)
        if out is None:
            return
        refusal = Overloaded(
            f"{self.in_flight} questions are being answered and {self.queued} wait; try again later",
            retry_after_s=max(1.0, wait_s),
            reason="queue_full",
        )
        if out is entry:
            raise refusal
        if not (turn := self._turns[out]).done():  # else it is giving up by itself at this moment
            turn.set_exception(refusal)

    def _leave(self) -> None:
        """A place goes straight to the next who waits, so that nobody slips in between."""
        while (entry := self._queue.pop(time.monotonic())) is not None:
            turn = self._turns[entry]
            if not turn.done():
                turn.set_result(None)
                return
        self.in_flight -= 1

    def _wait_s(self, entry: Waiting) -> float:
        """Until one who came now would have a place, about."""
        ahead = self._queue.ahead(entry.user, entry.priority)
        return (ahead + 1) * self._average_run_s / self._max_in_flight
