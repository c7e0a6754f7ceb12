"""A time limit on one call of a neighbour: asyncio.timeout for half its CPU, and with patience for our own lag."""

import asyncio
from types import TracebackType

LAG_S = 0.01
TURNS = 10
"""More than a new connection, its greeting and a call need."""


class Deadline:
    """`with Deadline(seconds):` around awaits; TimeoutError when they take longer.

    When this process was too busy to look in time, they have as long again, and the event loop comes round TURNS times:
    a burst of requests would else take its own lag for a neighbour that is away, whose answer has long been in the
    socket. (Measured: three servers that had just started let 58 of 90 requests pass a limit of 30.) The cancellation
    is as in asyncio.timeout, whose context is asynchronous: two awaits that cost more than the timer does.
    """

    __slots__ = ("_cancelling", "_handle", "_left", "_loop", "_rung", "_seconds", "_task")

    def __init__(self, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None, "a deadline is for a task"
        self._task, self._seconds = task, seconds
        self._loop = task.get_loop()
        self._rung = False

    def __enter__(self) -> None:
        self._cancelling = self._task.cancelling()
        self._handle = self._loop.call_later(self._seconds, self._ring)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.cancel()
        if self._rung and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _ring(self) -> None:
        if self._loop.time() - self._handle.when() > LAG_S:
            self._left = TURNS
            self._turn()
        else:
            self._end()

    def _turn(self) -> None:
        if self._left == 0:
            self._end()
            return
        self._left -= 1
        self._handle = self._loop.call_later(self._seconds / TURNS, self._turn)

    def _end(self) -> None:
        self._rung = True
        self._task.cancel()
