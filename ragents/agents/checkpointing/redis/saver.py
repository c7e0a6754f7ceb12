"""RedisCheckpointSaver: threads in plain Redis 6.2 or newer, one round trip for each operation of a turn."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ragents.agents.checkpointing.base import DurableSaver
from ragents.agents.checkpointing.codec import Codec
from ragents.agents.checkpointing.framing import framed
from ragents.agents.checkpointing.redis.keys import joined, parted, thread_keys
from ragents.agents.checkpointing.redis.reading import BARE_PAGE, PAGE, Name, Reader, paged
from ragents.agents.checkpointing.redis.records import pack_checkpoint, pack_write, ref, root_of
from ragents.agents.checkpointing.redis.registry import Registry
from ragents.agents.checkpointing.redis.scripts import Script, Server
from ragents.agents.checkpointing.redis.storing import AT_ONCE, MOST, TAKEN, Item, Reply, Storing
from ragents.agents.checkpointing.rows import Place, StoredCheckpoint, StoredWrite
from ragents.concurrency.batches import Batches
from ragents.errors import InputError, ThreadTaken

DROP, PRUNE = Script("drop"), Script("prune")


class RedisCheckpointSaver(DurableSaver):
    """Keys and fields: see thread.lua. Threads end `ttl_s` (or up to 5 % less) after they were last read or written.

    A namespace keeps its newest `max_checkpoints`, half as many more at times, and what those need.
    """

    backend = "redis"

    def __init__(
        self,
        server: Server,
        *,
        serde: JsonPlusSerializer,
        codec: Codec,
        ttl_s: float | None,
        max_checkpoints: int | None,
        tenant: str = "",
    ) -> None:
        super().__init__(serde=serde, codec=codec, tenant=tenant)
        self._server = server
        self._ttl_ms = 0 if ttl_s is None else max(1, int(ttl_s * 1000))
        self._keep = max_checkpoints or 0
        self._registry = Registry(server, ttl_s=ttl_s)
        self._reader = Reader(server, self._registry, ttl_ms=self._ttl_ms)
        storing = Storing(server, ttl_ms=self._ttl_ms)
        self._batches: Batches[Item, Reply] = Batches(storing.together, at_once=AT_ONCE, most=MOST)

    async def adelete_thread(self, thread_id: str) -> None:
        """With its lease and its ledger: who still holds it cannot write to it any more."""
        await self._server.command("UNLINK", *thread_keys(self.tenant, thread_id), again=True)
        await self._registry.forget(self.tenant, thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        for run_id in map(str, run_ids):
            for thread in await self._registry.threads_of_run(self.tenant, run_id):
                await self._drop_run(thread, run_id)
            await self._registry.forget_run(self.tenant, run_id)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """All checkpoints, oldest first. Conflict when the target exists."""
        await self._refuse_existing(target_thread_id)
        names = [name async for name in self._reader.names(self.tenant, source_thread_id)]
        for some in paged(names[::-1], PAGE):
            for stored in await self._reader.read(self.tenant, source_thread_id, some):
                copy = self._moved(stored, Place(self.tenant, target_thread_id, stored.place.namespace))
                await self._store(copy, fence=None, keep=0)
                if copy.writes:
                    await self._put_writes(copy.place, copy.id, copy.writes, fence=None)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """keep_latest: the newest of each namespace and what it needs. delete: the threads."""
        if strategy not in ("keep_latest", "delete"):
            raise InputError(f"strategy {strategy!r} is neither 'keep_latest' nor 'delete'", field="strategy")
        for thread_id in map(str, thread_ids):
            if strategy == "delete":
                await self.adelete_thread(thread_id)
            else:
                await self._server.run(PRUNE, thread_keys(self.tenant, thread_id), [1], again=True)

    # What DurableSaver asks for.

    async def _put(self, stored: StoredCheckpoint, *, fence: int | None) -> list[str]:
        return await self._store(stored, fence=fence, keep=self._keep)

    async def _put_writes(
        self, place: Place, checkpoint_id: str, writes: Sequence[StoredWrite], *, fence: int | None
    ) -> None:
        await self._registry.note(place.tenant, place.thread)
        parts = _head(b"w", fence, place.namespace, checkpoint_id)
        for write in writes:
            name, record = pack_write(write)
            parts += (name, b"1" if write.index < 0 else b"0", record)
        await self._run(Item(thread_keys(place.tenant, place.thread), framed(parts)))

    async def _get(self, place: Place, checkpoint_id: str | None) -> StoredCheckpoint | None:
        found = await self._reader.read(place.tenant, place.thread, [(place.namespace, checkpoint_id or "")])
        if not found:
            return None
        await self._registry.note(place.tenant, place.thread)
        return found[0]

    async def _list(
        self,
        tenant: str,
        *,
        thread: str | None,
        namespace: str | None,
        checkpoint_id: str | None,
        metadata: Mapping[str, Any],
        before: str | None,
        limit: int | None,
    ) -> AsyncIterator[StoredCheckpoint]:
        if thread is None:
            found = self._reader.of_tenant(
                tenant,
                namespace=namespace,
                before=before,
                checkpoint_id=checkpoint_id,
                metadata=metadata,
                limit=limit,
            )
        else:
            found = self._reader.of_thread(
                tenant, thread, namespace=namespace, before=before, checkpoint_id=checkpoint_id, metadata=metadata
            )
        count = 0
        async with aclosing(found):
            async for stored in found:
                yield stored
                count += 1
                if count == limit:
                    return

    def _ancestors(self, place: Place, checkpoint_id: str | None) -> AsyncIterator[StoredCheckpoint]:
        return self._reader.chain(place, checkpoint_id)

    async def _store(self, stored: StoredCheckpoint, *, fence: int | None, keep: int) -> list[str]:
        place = stored.place
        await self._registry.note(place.tenant, place.thread, run_id=stored.run_id)
        expected = [ref(*each) for each in stored.large.items() if each[0] not in stored.blobs]
        parts = _head(b"c", fence, place.namespace, stored.id)
        parts += (pack_checkpoint(stored), joined(root_of(stored)))
        parts += (b"%d" % keep, b"%d" % (keep // 2), b"%d" % len(expected), *expected)
        for channel, value in stored.blobs.items():
            parts += (ref(channel, stored.large[channel]), value)
        missing = await self._run(Item(thread_keys(place.tenant, place.thread), framed(parts)))
        return [parted(each)[0] for each in missing]

    async def _run(self, item: Item) -> list[bytes]:
        """The refs of large values that are missing."""
        reply = await self._batches.run(item)
        if reply == TAKEN:
            raise ThreadTaken("the thread went on elsewhere while this process stood still; nothing was written")
        return reply if isinstance(reply, list) else []

    async def _drop_run(self, thread: str, run_id: str) -> None:
        names = [name async for name in self._reader.names(self.tenant, thread)]
        for some in paged(names, BARE_PAGE):
            await self._drop(thread, await self._reader.matching(self.tenant, thread, some, {"run_id": run_id}))

    async def _drop(self, thread: str, names: Sequence[Name]) -> None:
        arguments = [joined(part) for name in names for part in name]
        if arguments:
            await self._server.run(DROP, thread_keys(self.tenant, thread), arguments, again=True)


def _head(kind: bytes, fence: int | None, namespace: str, checkpoint_id: str) -> list[bytes]:
    return [kind, b"" if fence is None else b"%d" % fence, joined(namespace), joined(checkpoint_id)]
