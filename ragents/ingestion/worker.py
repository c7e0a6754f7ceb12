"""A thread for one loader's work, which can be left behind."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_Piece = Callable[[], None]


class Worker:
    """One piece of work at a time, in a thread that the next piece reuses.

    A thread that hangs cannot be ended. It is left behind, and the next piece gets a new one. Those of asyncio's
    executor are joined when the process ends, which a thread that hangs would keep from ending; these are not.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._pieces: SimpleQueue[_Piece | None] | None = None

    async def run(self, work: Callable[[], T], *, timeout_s: float) -> T:
        """What `work` returns or raises. TimeoutError when it takes longer."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def piece() -> None:
            try:
                value = context.run(work)
            except BaseException as error:  # it is raised where the work was asked for
                _tell(loop, result, result.set_exception, error)
            else:
                _tell(loop, result, result.set_result, value)

        pieces = self._pieces or self._start()
        pieces.put(piece)
        try:
            async with asyncio.timeout(timeout_s):
                return await result
        except (TimeoutError, asyncio.CancelledError):
            if not result.done() or result.cancelled():
                self.close()
            raise

    def close(self) -> None:
        """The thread ends when it has nothing to do, now or whenever it comes back."""
        if self._pieces is not None:
            self._pieces.put(None)
            self._pieces = None

    def _start(self) -> SimpleQueue[_Piece | None]:
        self._pieces = SimpleQueue()
        threading.Thread(target=_work, args=(self._pieces,), name=self._name, daemon=True).start()
        return self._pieces


def _work(pieces: SimpleQueue[_Piece | None]) -> None:
    while (piece := pieces.get()) is not None:
        piece()


def _tell(
    loop: asyncio.AbstractEventLoop, result: "asyncio.Future[Any]", tell: Callable[[Any], None], value: Any
) -> None:
    """`Any`: the type of the result, which mypy cannot follow through a bound method."""

    def now() -> None:
        if not result.done():
            tell(value)

    try:
        loop.call_soon_threadsafe(now)
    except RuntimeError:
        return  # the loop is closed: nobody waits any more
