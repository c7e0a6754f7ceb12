"""Leases: one turn at a time on a thread, over all processes, even when one of them stands still for a while.

A lease has a number (the fence) that grows with every taking of the thread. The saver writes under it, and refuses
when the thread has been taken since: a process that slept through its lease cannot write into somebody else's turn.
(Martin Kleppmann, "How to do distributed locking", 2016.)
"""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from ragents.errors import ThreadBusy, ThreadTaken

log = logging.getLogger(__name__)

LEASE_S, RENEWALS = 3.0, 3
"""A crashed process's thread is free again after so long: most of what a recovery takes. Long enough for a process
whose event loop stands still for a moment."""
POLL_S, MAX_POLL_S = 0.02, 0.25

_releasing: set[asyncio.Task[None]] = set()
"""Leases still to be given back; each ends within its lease's time."""


class Leases(Protocol):
    """Kept where the thread's checkpoints are."""

    async def take(self, tenant: str, thread: str, *, ttl_s: float) -> int | None:
        """A fence greater than all before; None while somebody else holds the thread."""
        ...

    async def renew(self, tenant: str, thread: str, *, fence: int, ttl_s: float) -> bool:
        """False when the thread has been taken by somebody else."""
        ...

    async def release(self, tenant: str, thread: str, *, fence: int) -> None:
        """Frees the thread if it is still held under this fence. The count goes on from there."""
        ...


class MemoryLeases:
    """For one process; `clock` in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._numbers = itertools.count(1)
        self._held: dict[tuple[str, str], tuple[int, float]] = {}

    async def take(self, tenant: str, thread: str, *, ttl_s: float) -> int | None:
        _, until = self._held.get((tenant, thread), (0, 0.0))
        if until > self._clock():
            return None
        fence = next(self._numbers)
        self._held[tenant, thread] = (fence, self._clock() + ttl_s)
        return fence

    async def renew(self, tenant: str, thread: str, *, fence: int, ttl_s: float) -> bool:
        if self._held.get((tenant, thread), (0, 0.0))[0] != fence:
            return False
        self._held[tenant, thread] = (fence, self._clock() + ttl_s)
        return True

    async def release(self, tenant: str, thread: str, *, fence: int) -> None:
        if self._held.get((tenant, thread), (0, 0.0))[0] == fence:
            del self._held[tenant, thread]


@asynccontextmanager
async def hold(
    leases: Leases, tenant: str, thread: str, *, wait_s: float, lease_s: float = LEASE_S
) -> AsyncIterator[int]:
    """The fence, for as long as the block runs. ThreadBusy after `wait_s`; ThreadTaken when the lease was lost."""
    fence = await _take(leases, tenant, thread, wait_s, lease_s)
    holder = asyncio.current_task()
    lost = False

    async def keep() -> None:
        nonlocal lost
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(lease_s / RENEWALS)
            try:
                kept = await leases.renew(tenant, thread, fence=fence, ttl_s=lease_s)
            except Exception as error:
                log.warning("a thread's lease was not renewed: %s: %s", type(error).__name__, error)
                # The store may be back in time; after the lease's end nothing is certain any more.
                kept = time.monotonic() - renewed < lease_s
            else:
                renewed = time.monotonic()
            if not kept and holder is not None:
                lost = True
                holder.cancel()
                return

    keeper = asyncio.create_task(keep())
    try:
        yield fence
    except asyncio.CancelledError:
        if lost and holder is not None and holder.uncancel() == 0:
            raise ThreadTaken("the thread was taken over by another request while this one stood still") from None
        raise
    finally:
        keeper.cancel()
        if not lost:
            await asyncio.shield(_release(leases, tenant, thread, fence, lease_s))


async def _take(leases: Leases, tenant: str, thread: str, wait_s: float, lease_s: float) -> int:
    pause, until = POLL_S, time.monotonic() + wait_s
    while (fence := await leases.take(tenant, thread, ttl_s=lease_s)) is None:
        left = until - time.monotonic()
        if left <= 0:
            raise ThreadBusy("another turn is running on this thread; send the next one when it has been answered")
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 2, MAX_POLL_S)
    return fence


async def _release(leases: Leases, tenant: str, thread: str, fence: int, lease_s: float) -> None:
    """Once now. While the store is down again and again beside what comes next, until the lease runs out by itself."""
    if not await _released(leases, tenant, thread, fence, lease_s):
        task = asyncio.create_task(_release_later(leases, tenant, thread, fence, lease_s))
        _releasing.add(task)
        task.add_done_callback(_releasing.discard)


async def _release_later(leases: Leases, tenant: str, thread: str, fence: int, lease_s: float) -> None:
    pause, until = POLL_S, time.monotonic() + lease_s
    while time.monotonic() < until:
        await asyncio.sleep(pause)
        if await _released(leases, tenant, thread, fence, lease_s):
            return
        pause = min(pause * 2, MAX_POLL_S)
    log.warning("a thread's lease was not given back in time: it has run out by itself")


async def _released(leases: Leases, tenant: str, thread: str, fence: int, lease_s: float) -> bool:
    try:
        async with asyncio.timeout(lease_s):
            await leases.release(tenant, thread, fence=fence)
    except Exception as error:
        log.debug("a thread's lease was not given back: %s: %s", type(error).__name__, error)
        return False
    return True
