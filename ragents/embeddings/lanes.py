"""Who may use the encoder next: a question goes before the next batch of an ingest."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class TwoLaneLock:
    """A lock whose urgent waiters go first; within a lane, first come, first served."""

    def __init__(self) -> None:
        self._held = False
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._bulk: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def hold(self, *, urgent: bool) -> AsyncIterator[None]:
        await self._acquire(self._urgent if urgent else self._bulk)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, lane: deque[asyncio.Future[None]]) -> None:
        if not self._held:
            self._held = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lane.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()  # the turn came in the very moment of cancelling: pass it on
            else:
                _discard(lane, turn)
            raise

    def _release(self) -> None:
        for lane in (self._urgent, self._bulk):
            while lane:
                turn = lane.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._held = False


def _discard(lane: deque[asyncio.Future[None]], turn: asyncio.Future[None]) -> None:
    if turn in lane:
        lane.remove(turn)
