"""One run: the events of a question while its answer is written."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ragents.errors import Overloaded

MAX_UNREAD = 1_000
"""Events that a run may be ahead of a reader; then the model waits."""
MAX_EVENTS = 100_000
Key = tuple[str, str, str]
"""tenant, user, request id: nobody reads another's run."""


@dataclass(frozen=True, slots=True)
class Event:
    """`data` is JSON. Ids count from 1."""

    id: int
    name: str
    data: str


class Run:
    """The events of one question, all of them from the first on."""

    def __init__(self) -> None:
        self.done = False
        self.begun = False
        """whether a reader has been promised events: an error is one of them then"""
        self._events: list[Event] = []
        self._readers: dict[object, int] = {}
        self._change = asyncio.Event()

    @property
    def is_read(self) -> bool:
        return bool(self._readers)

    async def put(self, name: str, data: Mapping[str, Any]) -> None:
        """Waits while a reader is far behind; without one it goes on."""
        if len(self._events) >= MAX_EVENTS:
            raise Overloaded(f"the answer has {MAX_EVENTS} events; ask for a shorter one", retry_after_s=1)
        self._events.append(Event(len(self._events) + 1, name, json.dumps(data, ensure_ascii=False)))
        self.begun = True
        self._changed()
        await self._until(lambda: all(len(self._events) - at <= MAX_UNREAD for at in self._readers.values()))

    def finish(self) -> None:
        self.done = True
        self._changed()

    async def first_event(self, timeout_s: float) -> bool:
        """False when the run ended without one. True after `timeout_s` as well."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._until(lambda: bool(self._events) or self.done)
        return bool(self._events) or not self.done

    async def events(self, after: int = 0) -> AsyncGenerator[Event]:
        """Those after the id `after`, as they come, until the run has ended."""
        reader = object()
        self._readers[reader] = after
        try:
            while True:
                await self._until(lambda: len(self._events) > self._readers[reader] or self.done)
                fresh = self._events[self._readers[reader] :]
                if not fresh:
                    return
                for event in fresh:
                    yield event
                    self._readers[reader] = event.id
                self._changed()
        finally:
            del self._readers[reader]
            self._changed()

    def after(self, event_id: int) -> list[Event]:
        return self._events[event_id:]

    async def changed(self, timeout_s: float) -> None:
        """Until something happens, or so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._change.wait()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self._change.wait()

    def _changed(self) -> None:
        self._change.set()
        self._change = asyncio.Event()
