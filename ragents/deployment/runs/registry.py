"""Runs: questions whose answers are streamed. A run lasts as long as somebody reads it, or may come back for it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any

from ragents.agents.checkpointing.run_log import RunLog
from ragents.deployment.runs.run import Event, Key, Run
from ragents.deployment.runs.shared import SharedRuns
from ragents.errors import Conflict, NotFound
from ragents.principal import Principal

MAX_KEPT = 1_000
"""Runs without a reader that are kept for one."""
FIRST_EVENT_S = 5.0
"""So long an error still gets a status of its own; then the answer begins, and errors become events."""


class Runs:
    """For one event loop. A run whose reader goes away is cancelled `grace_s` later, unless another has come.

    With `log` the reader may come back at another server as well.
    """

    def __init__(self, *, grace_s: float, log: RunLog | None = None) -> None:
        self._grace_s = grace_s
        self._shared = SharedRuns(log, grace_s=grace_s) if log is not None and grace_s > 0 else None
        self._runs: dict[Key, tuple[Run, asyncio.Task[None]]] = {}
        self._background: set[asyncio.Task[None]] = set()

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
        key = _key(request_id, principal)
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
        if self._shared is not None:
            self._spawn(self._shared.copy(key, run))
        # A client that is gone by now never begins to read, and so never leaves.
        asyncio.get_running_loop().call_later(max(self._grace_s, FIRST_EVENT_S), self._expire, key, run)
        return run

    async def find(self, request_id: str, principal: Principal, *, after: int = 0) -> AsyncGenerator[Event]:
        """The events of a run that goes on, or ended lately; here or at another server.

        NotFound for a foreign or unknown run, and for one that nobody came back for in time.
        """
        if _key(request_id, principal) in self._runs:
            return self.read(request_id, principal, after=after)
        found = None if self._shared is None else await self._shared.follow(_key(request_id, principal), after=after)
        if found is None:
            raise NotFound("run", request_id)
        return found

    async def read(self, request_id: str, principal: Principal, *, after: int = 0) -> AsyncGenerator[Event]:
        """The events of a run that `start` gave. Who leaves it alone ends it, after the time of grace."""
        key = _key(request_id, principal)
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
        tasks = [*(task for _, task in self._runs.values()), *self._background]
        for key in list(self._runs):
            self._drop(key)
        for task in self._background:
            task.cancel()
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
        if known is None or known[0] is not run or run.is_read:
            return
        if self._shared is None:
            self._drop(key)
        else:
            self._spawn(self._expire_unless_read_elsewhere(self._shared, key, run))

    async def _expire_unless_read_elsewhere(self, shared: "SharedRuns", key: Key, run: Run) -> None:
        left_s = await shared.read_for(key)
        if left_s > 0:
            asyncio.get_running_loop().call_later(left_s, self._expire, key, run)
        elif not run.is_read:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        found = self._runs.pop(key, None)
        if found is not None:
            found[1].cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _key(request_id: str, principal: Principal) -> Key:
    return (principal.tenant, principal.user, request_id)
