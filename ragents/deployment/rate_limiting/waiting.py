"""Callers that wait for their user's limits: the most urgent tries first."""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from ragents.errors import Overloaded

Place = tuple[int, int]
"""rank, number"""


class _Line:
    """The callers of one user. `moved` is set when another stands in front."""

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.moved = asyncio.Event()

    def change(self) -> None:
        self.moved.set()
        self.moved = asyncio.Event()


class Waiting:
    """For one event loop. At most `most` callers wait at a time."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._numbers = itertools.count()
        self._lines: dict[str, _Line] = {}
        self._waiting = 0

    @asynccontextmanager
    async def stand(self, user: str, *, rank: int) -> AsyncIterator["Standing"]:
        if self._waiting >= self._most:
            raise Overloaded(f"{self._waiting} callers wait (rate_limit.max_queue); try again later")
        line = self._lines.setdefault(user, _Line())
        place = (rank, next(self._numbers))
        heapq.heappush(line.places, place)
        self._waiting += 1
        line.change()
        try:
            yield Standing(line, place)
        finally:
            self._waiting -= 1
            line.places.remove(place)
            heapq.heapify(line.places)
            line.change()
            if not line.places:
                del self._lines[user]


class Standing:
    """A place in a line."""

    def __init__(self, line: _Line, place: Place) -> None:
        self._line, self._place = line, place

    @property
    def first(self) -> bool:
        return self._line.places[0] == self._place

    async def moved(self, timeout_s: float) -> None:
        """Until the line changes, or so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._line.moved.wait()
