"""A time limit for a neighbour's answer that this process's own lag does not use up."""

import asyncio
from types import TracebackType

TURNS = 10
"""More than a new connection, its greeting and a call need."""


class Patience:
    """TimeoutError after `seconds`, and not before the event loop has come round TURNS times.

    A plain timeout counts what the loop is busy with otherwise: in a burst of requests it is over while the answer has
    long been in the socket. Measured on a busy machine (2026-11-21): three servers that had just started let 58 of 90
    requests at once pass a limit of 30, since Redis passed for away.
    """

    __slots__ = ("_left", "_limit", "_loop", "_step_s", "_timer")

    def __init__(self, seconds: float) -> None:
        self._step_s, self._left = seconds / TURNS, TURNS
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._step_s, self._turn)
        await self._limit.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def _turn(self) -> None:
        self._left -= 1
        if self._left:
            self._timer = self._loop.call_later(self._step_s, self._turn)
        else:
            self._limit.reschedule(self._loop.time())
