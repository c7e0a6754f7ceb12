"""Finding and reading a thread's checkpoints: one by one, a chain of them, or a list in pages."""

import asyncio
import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from ragents.agents.checkpointing.redis.keys import joined, parted, thread_keys
from ragents.agents.checkpointing.redis.records import unpack_reply
from ragents.agents.checkpointing.redis.registry import Registry
from ragents.agents.checkpointing.redis.scripts import Script, Server
from ragents.agents.checkpointing.rows import Place, StoredCheckpoint

READ = Script("read")
PAGE = 8
"""Checkpoints that are in memory at once, with their values."""
BARE_PAGE = 64
NAMES_PAGE = 1000
AT_ONCE = 16
"""Threads that are looked into at the same time."""

Name = tuple[str, str]
"""A checkpoint's namespace and id."""
Item = TypeVar("Item")


class Reader:
    """Reading counts as use: it prolongs the thread's life by `ttl_ms` (0: it has no end)."""

    def __init__(self, server: Server, registry: Registry, *, ttl_ms: int) -> None:
        self._server = server
        self._registry = registry
        self._ttl_ms = ttl_ms

    async def read(
        self, tenant: str, thread: str, names: Sequence[Name], *, bare: bool = False, ancestors: int = 0
    ) -> list[StoredCheckpoint]:
        """Those that are there; an empty id means the newest. `bare`: without writes and large values."""
        wanted = [each for namespace, id_ in names for each in (joined(namespace), joined(id_))]
        arguments = [self._ttl_ms, "1" if bare else "0", ancestors, *wanted]
        reply = await self._server.run(READ, thread_keys(tenant, thread), arguments, again=True)
        return list(unpack_reply(tenant, thread, reply))

    async def chain(self, place: Place, checkpoint_id: str | None) -> AsyncIterator[StoredCheckpoint]:
        """The ancestors of a checkpoint, nearest first."""
        start, page = checkpoint_id or "", PAGE
        seen: set[str] = set()  # a forged chain may be a ring
        while True:
            found = await self.read(place.tenant, place.thread, [(place.namespace, start)], ancestors=page)
            for stored in found[1:]:
                if stored.id in seen:
                    return
                seen.add(stored.id)
                yield stored
            if len(found) <= page:
                return
            start = found[-1].id

    async def names(
        self, tenant: str, thread: str, *, namespace: str | None = None, before: str | None = None
    ) -> AsyncIterator[Name]:
        """Newest first. Over all namespaces they are collected first (names only) and then sorted."""
        if namespace is None:
            names = [name async for name in self._names(tenant, thread, b"[c\0", b"(c\1", newest_first=False)]
            for name in sorted(names, key=lambda each: each[1], reverse=True):
                if before is None or name[1] < before:
                    yield name
            return
        start = joined("c", namespace)
        end = start + b"\1" if before is None else joined("c", namespace, before)
        async for name in self._names(tenant, thread, b"[" + start + b"\0", b"(" + end, newest_first=True):
            yield name

    async def _names(
        self, tenant: str, thread: str, low: bytes, high: bytes, *, newest_first: bool
    ) -> AsyncIterator[Name]:
        key = thread_keys(tenant, thread)[1]
        while True:
            how, bounds = ("ZREVRANGEBYLEX", (high, low)) if newest_first else ("ZRANGEBYLEX", (low, high))
            members = await self._server.command(how, key, *bounds, "LIMIT", 0, NAMES_PAGE, again=True)
            for member in members:
                _, namespace, id_ = parted(member)
                yield namespace, id_
            if len(members) < NAMES_PAGE:
                return
            low, high = (low, b"(" + members[-1]) if newest_first else (b"(" + members[-1], high)

    async def matching(
        self, tenant: str, thread: str, names: Sequence[Name], metadata: Mapping[str, Any]
    ) -> list[Name]:
        """Those whose metadata have these values; a missing key counts as None."""
        if not metadata:
            return list(names)
        found = await self.read(tenant, thread, names, bare=True)
        return [
            (stored.place.namespace, stored.id)
            for stored in found
            if all(stored.metadata.get(key) == value for key, value in metadata.items())
        ]

    async def of_thread(
        self,
        tenant: str,
        thread: str,
        *,
        namespace: str | None,
        before: str | None,
        checkpoint_id: str | None,
        metadata: Mapping[str, Any],
    ) -> AsyncGenerator[StoredCheckpoint, None]:
        names = [name async for name in self.names(tenant, thread, namespace=namespace, before=before)]
        if checkpoint_id is not None:
            names = [name for name in names if name[1] == checkpoint_id]
        for some in paged(names, BARE_PAGE if metadata else PAGE):
            for few in paged(await self.matching(tenant, thread, some, metadata), PAGE):
                for stored in await self.read(tenant, thread, few):
                    yield stored

    async def of_tenant(
        self,
        tenant: str,
        *,
        namespace: str | None,
        before: str | None,
        checkpoint_id: str | None,
        metadata: Mapping[str, Any],
        limit: int | None,
    ) -> AsyncGenerator[StoredCheckpoint, None]:
        """All threads; the names of all their checkpoints are in memory, a page of values at a time."""
        names: list[tuple[str, str, str]] = []
        for threads in paged(await self._registry.threads(tenant), AT_ONCE):
            for some in await asyncio.gather(*(self._names_in(tenant, thread, namespace) for thread in threads)):
                names += some
        names = [
            name
            for name in names
            if (before is None or name[0] < before) and (checkpoint_id is None or name[0] == checkpoint_id)
        ]
        newest_first = sorted(names, reverse=True) if metadata or not limit else heapq.nlargest(limit, names)
        for page in paged(newest_first, PAGE):
            reads = (self._matching(tenant, thread, [(space, id_)], metadata) for id_, thread, space in page)
            for found in await asyncio.gather(*reads):
                for stored in found:
                    yield stored

    async def _matching(
        self, tenant: str, thread: str, names: Sequence[Name], metadata: Mapping[str, Any]
    ) -> list[StoredCheckpoint]:
        found = await self.matching(tenant, thread, names, metadata)
        return await self.read(tenant, thread, found) if found else []

    async def _names_in(self, tenant: str, thread: str, namespace: str | None) -> list[tuple[str, str, str]]:
        """Id, thread, namespace."""
        found = [(id_, thread, space) async for space, id_ in self.names(tenant, thread, namespace=namespace)]
        if not found:
            await self._registry.forget_expired(tenant, thread)
        return found


def paged(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[at : at + size] for at in range(0, len(items), size))
