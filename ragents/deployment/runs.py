"""Runs: questions whose answers are streamed. A run lasts as long as somebody reads it, or may come back for it."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from ragents.errors import Conflict, NotFound, Overloaded
from ragents.principal import Principal

MAX_UNREAD = 1_000
"""Events that a run may be ahead of a reader; then the model waits."""
MAX_EVENTS = 100_000
MAX_KEPT = 1_000
"""Runs without a reader that are kept for one."""
FIRST_EVENT_S = 5.0
"""So long an error still gets a status of its own; then the answer begins, and errors become events."""

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

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self._change.wait()

    def _changed(self) -> None:
        self._change.set()
        self._change = asyncio.Event()


class Runs:
    """For one event loop. A run whose reader goes away is cancelled `grace_s` later, unless another has come."""

    def __init__(self, *, grace_s: float) -> None:
        self._grace_s = grace_s
        self._runs: dict[Key, tuple[Run, asyncio.Task[None]]] = {}

    async def start(
        self,
        request_id: str,
        principal: Principal,
        work: Callable[[Run], Awaitable[None]],
        *,
        told: Callable[[Exception], Mapping[str, Any]],
    ) -> Run:
        """A run that has its first event, or has taken long over it.

        Raises what `work` raises before that; later it becomes the event "error", with what `told` makes of it.
        """
        key = (principal.tenant, principal.user, request_id)
        if key in self._runs:
            raise Conflict(
                f"the run {request_id} is known; read it at /runs/{request_id}/events, or send another X-Request-ID"
            )
        run = Run()

        async def finished() -> None:
            try:
                await work(run)
            except Exception as error:
                if not run.begun:
                    raise
                await run.put("error", told(error))
            finally:
                run.finish()

        task = asyncio.create_task(finished())
        self._runs[key] = run, task
        try:
            if not await run.first_event(FIRST_EVENT_S):
                await task
            run.begun = True
        except BaseException:
            self._drop(key)
            raise
        # A client that is gone by now never begins to read, and so never leaves.
        asyncio.get_running_loop().call_later(max(self._grace_s, FIRST_EVENT_S), self._expire, key, run)
        return run

    def find(self, request_id: str, principal: Principal) -> Run:
        """NotFound for a foreign or unknown run, and for one that nobody came back for in time."""
        found = self._runs.get((principal.tenant, principal.user, request_id))
        if found is None:
            raise NotFound("run", request_id)
        return found[0]

    async def read(self, request_id: str, principal: Principal, *, after: int = 0) -> AsyncGenerator[Event]:
        """The events of a run that `start` or `find` gave. Who leaves it alone ends it, after the time of grace."""
        key = (principal.tenant, principal.user, request_id)
        run, _ = self._runs[key]
        try:
            async with aclosing(run.events(after)) as events:
                async for event in events:
                    yield event
        finally:
            if not run.is_read:
                self._left(key, run)

    async def close(self) -> None:
        """Cancels what still runs, and waits for it."""
        tasks = [task for _, task in self._runs.values()]
        for key in list(self._runs):
            self._drop(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _left(self, key: Key, run: Run) -> None:
        if self._grace_s <= 0:
            self._expire(key, run)
            return
        asyncio.get_running_loop().call_later(self._grace_s, self._expire, key, run)
        unread = [each for each, (other, _) in self._runs.items() if not other.is_read]
        for each in unread[:-MAX_KEPT]:
            self._drop(each)

    def _expire(self, key: Key, run: Run) -> None:
        known = self._runs.get(key)
        if known is not None and known[0] is run and not run.is_read:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        found = self._runs.pop(key, None)
        if found is not None:
            found[1].cancel()
