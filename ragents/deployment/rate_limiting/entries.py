"""The queue behind enqueue_request: by priority, and by age, so that nothing waits for ever.

An entry stands as if it had come `aging_s` later for each priority below CRITICAL: a LOW one that has waited three
times as long goes before a CRITICAL one that comes now.
"""

import heapq
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ragents.deployment.rate_limiting.types import Priority
from ragents.errors import InputError, Overloaded

FULL_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Entry:
    user: str
    data: Any
    """what JSON can hold"""
    priority: Priority

    def dump(self) -> str:
        try:
            return json.dumps([self.user, self.data, self.priority.value], allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"data: {error}; give what JSON can hold (texts, numbers, lists, dictionaries)", field="data"
            ) from None

    @staticmethod
    def load(text: str) -> "Entry":
        user, data, priority = json.loads(text)
        return Entry(user, data, Priority(priority))


class RequestQueue(Protocol):
    async def put(self, entry: Entry, *, rank: int) -> None:
        """Overloaded when it is full."""

    async def pop(self) -> Entry | None:
        """The next one, which nobody else gets; None when there is none."""


class MemoryQueue:
    """For one event loop. `clock` gives seconds."""

    def __init__(self, *, aging_s: float, max_entries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._aging_s, self._max_entries, self._clock = aging_s, max_entries, clock
        self._numbers = itertools.count()
        self._entries: list[tuple[float, int, str]] = []

    async def put(self, entry: Entry, *, rank: int) -> None:
        text = entry.dump()
        if len(self._entries) >= self._max_entries:
            raise full(self._max_entries)
        heapq.heappush(self._entries, (self._clock() + rank * self._aging_s, next(self._numbers), text))

    async def pop(self) -> Entry | None:
        return Entry.load(heapq.heappop(self._entries)[2]) if self._entries else None


def full(entries: int) -> Overloaded:
    return Overloaded(
        f"{entries} requests wait in the queue (rate_limit.max_queue); try again later", retry_after_s=FULL_RETRY_S
    )
