"""Flights: of equal questions at once one is answered, and the others wait for it; over all that share a backend."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ragents.rag.cache.patience import current_patience, patient_apart_for
from ragents.rag.cache.types import CacheBackend

Result = TypeVar("Result")
LEASE_S = 5.0
"""A process that dies holds the others up for so long."""
RENEWALS = 3
FIRST_POLL_S, LONGEST_POLL_S = 0.02, 0.2


@dataclass(slots=True)
class Flight(Generic[Result]):
    """`first` is to do the work, and leaves its `result` for those of the same process who wait.

    `left`: it was cancelled on the way. What fails is not tried again by each who waits, one after the other; what
    nobody has tried to the end is.
    """

    first: bool
    result: Result | None = None
    left: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Flights(Generic[Result]):
    def __init__(self, backend: CacheBackend, *, timeout_s: float = 0.05) -> None:
        """`timeout_s`: of one call of the backend."""
        self._backend = backend
        self._timeout_s = timeout_s
        self._here: dict[str, Flight[Result]] = {}
        self._giving: set[asyncio.Task[None]] = set()
        self.joined = 0
        """how often another's result was taken, in this process"""

    @asynccontextmanager
    async def alone(self, name: str, *, wait_s: float) -> AsyncIterator[Flight[Result]]:
        """`first` for one; the others come in when its work was done, or after `wait_s`.

        Who is not first takes the result, or looks for it in the cache, and does the work beside the others if it is in
        neither: it is waited for once. When the first one leaves, another of those who wait here takes its place.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + wait_s
        while (other := self._here.get(name)) is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await other.done.wait()
            if other.result is not None or not other.left or clock() >= until:
                self.joined += other.result is not None
                yield Flight(first=False, result=other.result)
                return
        flight: Flight[Result] = Flight(first=True)
        self._here[name] = flight
        try:
            async with self._alone_everywhere(name, max(0.0, until - clock())) as first:
                flight.first = first
                yield flight
        except asyncio.CancelledError:
            flight.left = True
            raise
        finally:
            del self._here[name]
            flight.done.set()

    @asynccontextmanager
    async def _alone_everywhere(self, name: str, wait_s: float) -> AsyncIterator[bool]:
        if current_patience(self._timeout_s).late:  # a backend that does not answer: it would cost the same time again
            yield True
            return
        owner = uuid.uuid4().hex
        if not await self._take(name, owner):
            await self._wait(name, owner, wait_s)
            yield False
            return
        keeper = asyncio.create_task(self._keep(name, owner))
        try:
            yield True
        finally:
            keeper.cancel()
            await asyncio.shield(self._give(name, owner))

    async def _wait(self, name: str, owner: str, wait_s: float) -> None:
        """Until the name can be had, which is then let go again."""
        pause = FIRST_POLL_S
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while True:
                    await asyncio.sleep(pause)
                    pause = min(LONGEST_POLL_S, pause * 1.5)
                    if await self._take(name, owner):
                        break
        await self._give(name, owner)

    async def _keep(self, name: str, owner: str) -> None:
        while True:
            await asyncio.sleep(LEASE_S / RENEWALS)
            await self._take(name, owner)

    async def _take(self, name: str, owner: str) -> bool:
        """With a patience of its own: a request that has spent its own must not pass for one that holds the name."""
        with patient_apart_for(self._timeout_s):
            return await self._backend.take(name, owner, LEASE_S)

    async def _give(self, name: str, owner: str) -> None:
        """Nobody waits for a backend that has been late before: what is not given back ends with its lease."""
        if not current_patience(self._timeout_s).late:
            await self._given(name, owner)
            return
        task = asyncio.create_task(self._given(name, owner))
        self._giving.add(task)
        task.add_done_callback(self._giving.discard)

    async def _given(self, name: str, owner: str) -> None:
        with patient_apart_for(self._timeout_s):
            await self._backend.give(name, owner)
