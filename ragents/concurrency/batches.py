"""Group commit: what comes while others are on their way shares a round trip with what waits beside it.

Alone, an item goes at once. Under load, what waits for one of the few places goes together: one message, one
transaction or script, and one flush of the log for many.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

Together = Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]]
"""Stores items; for each its result, or its own error. What it raises is everybody's error."""


class Batches(Generic[Item, Result]):
    """At most `at_once` batches are on their way at a time, of at most `most` items each."""

    def __init__(self, together: Together[Item, Result], *, at_once: int, most: int) -> None:
        self._together = together
        self._at_once = at_once
        self._most = most
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._running = self._sent = 0
        self._workers: set[asyncio.Task[None]] = set()  # the loop itself holds tasks weakly

    async def run(self, item: Item) -> Result:
        """Returns once the item is stored. A caller that gives up while it waits gets nothing stored."""
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._running < self._at_once:
            self._running += 1
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return await done

    async def _work(self) -> None:
        try:
            while self._waiting:
                # An even share for each place: while one batch is stored, the callers of the other go on.
                share = -(-(len(self._waiting) + self._sent) // self._at_once)
                batch = [self._waiting.popleft() for _ in range(min(self._most, share, len(self._waiting)))]
                batch = [(item, done) for item, done in batch if not done.done()]
                if batch:
                    self._sent += len(batch)
                    try:
                        await self._send(batch)
                    finally:
                        self._sent -= len(batch)
                    # Callers that were served just now, and have more, come before the next batch leaves.
                    await asyncio.sleep(0)
        finally:
            self._running -= 1  # not when the task is seen to be done: who comes in between would wait for nobody

    async def _send(self, batch: list[tuple[Item, "asyncio.Future[Result]"]]) -> None:
        try:
            results = await self._together([item for item, _ in batch])
        except BaseException as error:
            for _, done in batch:
                if not done.done():
                    done.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for (_, done), result in zip(batch, results, strict=True):
            if done.done():
                continue
            if isinstance(result, Exception):
                done.set_exception(result)
            else:
                done.set_result(result)
