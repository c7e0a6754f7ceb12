"""What lies between two stages: a queue that is bounded by the weight of what it holds."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Pipe(Generic[T]):
    """Holds items up to `capacity`, and a heavier one alone: documents of one chunk and of 50,000 go through it.

    One taker. `close` is the giver's last word; what was given before is still taken.
    """

    def __init__(self, capacity: int, weigh: Callable[[T], int]) -> None:
        self._capacity, self._weigh = capacity, weigh
        self._items: deque[tuple[T, int]] = deque()
        self._weight = 0
        self._closed = False
        self._changed = asyncio.Condition()

    async def put(self, item: T) -> None:
        weight = self._weigh(item)
        async with self._changed:
            await self._changed.wait_for(lambda: not self._items or self._weight + weight <= self._capacity)
            self._items.append((item, weight))
            self._weight += weight
            self._changed.notify_all()

    async def close(self) -> None:
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def take(self, weight: int) -> list[T]:
        """All that is there, as far as it weighs `weight` together, and one in any case. [] when nothing will come."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._items or self._closed)
            taken: list[T] = []
            total = 0
            while self._items and (not taken or total + self._items[0][1] <= weight):
                item, one = self._items.popleft()
                taken.append(item)
                total += one
            self._weight -= total
            self._changed.notify_all()
            return taken
