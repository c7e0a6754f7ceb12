"""PostgresCheckpointSaver: LangGraph's checkpointer on asyncpg. One statement, so one round trip, per operation."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import asyncpg
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ragents.agents.checkpointing.base import DurableSaver
from ragents.agents.checkpointing.codec import Codec
from ragents.agents.checkpointing.postgres.records import pack_write, unpack_write
from ragents.agents.checkpointing.postgres.storing import (
    AT_ONCE,
    MOST,
    CheckpointItem,
    Item,
    Storing,
    WritesItem,
    located,
)
from ragents.agents.checkpointing.postgres.text import from_text, optional, to_text
from ragents.agents.checkpointing.rows import Place, StoredCheckpoint, StoredWrite, dumps_json
from ragents.concurrency.batches import Batches
from ragents.errors import InputError, ThreadTaken
from ragents.postgres import Connections

PAGE = 100
"""Checkpoints fetched at once when listing or walking back."""
TAKEN = "RA001"
"""The error code of a write under a fence that is no longer the thread's (0001_threads.sql)."""

MISSING = "RA002"
"""The error code of a put that counts on a value that is not there."""

GET = "SELECT * FROM ragents_threads.get_checkpoint($1, $2, $3, $4, $5)"
LIST = "SELECT * FROM ragents_threads.list_checkpoints($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
ANCESTORS = "SELECT * FROM ragents_threads.ancestors($1, $2, $3, $4, $5)"


class PostgresCheckpointSaver(DurableSaver):
    """Tables langgraph_checkpoints, langgraph_writes and langgraph_blobs in the schema ragents_threads.

    `keep`: checkpoints kept per namespace (half as many more until the next trim), None for all. `ttl_s`: a thread is
    gone so long after its last use, once a sweeper has run; None for never.
    """

    backend = "postgres"

    def __init__(
        self,
        connections: Connections,
        *,
        serde: JsonPlusSerializer,
        codec: Codec,
        keep: int | None = None,
        ttl_s: float | None = None,
    ) -> None:
        super().__init__(serde=serde, codec=codec)
        self.connections = connections
        storing = Storing(connections, ttl_s=ttl_s)
        self._batches: Batches[Item, None] = Batches(storing.together, at_once=AT_ONCE, most=MOST)
        self._keep = keep
        self._ttl_s = ttl_s

    async def _put(self, stored: StoredCheckpoint, *, fence: int | None) -> list[str]:
        return await self._store(stored, fence=fence, keep=self._keep if self._time_to_trim(stored) else None)

    async def _store(self, stored: StoredCheckpoint, *, fence: int | None, keep: int | None) -> list[str]:
        try:
            await self._run(CheckpointItem(located(stored.place), stored, fence, keep))
        except asyncpg.PostgresError as error:
            if error.sqlstate != MISSING:
                raise
            return [channel for channel in stored.large if channel not in stored.blobs]
        return []

    def _time_to_trim(self, stored: StoredCheckpoint) -> bool:
        """Not at every step: looking for what can go costs more than keeping half as many again."""
        step = stored.metadata.get("step")
        return self._keep is not None and (not isinstance(step, int) or step % max(1, self._keep // 2) == 0)

    async def _put_writes(
        self, place: Place, checkpoint_id: str, writes: Sequence[StoredWrite], *, fence: int | None
    ) -> None:
        ordered = sorted(writes, key=_number)
        records = [pack_write(write) for write in ordered]
        await self._run(WritesItem(located(place), checkpoint_id, ordered[0].task_id, records, fence))

    async def _get(self, place: Place, checkpoint_id: str | None) -> StoredCheckpoint | None:
        async with self.connections.use() as db:
            row = await db.fetchrow(GET, *located(place), optional(checkpoint_id), self._ttl_s)
        return _stored(place.tenant, row) if row else None

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
        conditions = (
            to_text(tenant),
            optional(thread),
            optional(namespace),
            optional(checkpoint_id),
            dumps_json(metadata),
            optional(before),
        )
        after: tuple[str | None, str | None, str | None] = (None, None, None)
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            async with self.connections.use() as db:
                rows = await db.fetch(LIST, *conditions, *after, size)
            for row in rows:
                yield _stored(tenant, row)
            if len(rows) < size:
                return
            after = (rows[-1]["checkpoint_id"], rows[-1]["thread_id"], rows[-1]["checkpoint_ns"])
            left = None if left is None else left - len(rows)

    async def _ancestors(self, place: Place, checkpoint_id: str | None) -> AsyncIterator[StoredCheckpoint]:
        seen: set[str] = set()
        while True:
            async with self.connections.use() as db:
                rows = await db.fetch(ANCESTORS, *located(place), optional(checkpoint_id), PAGE)
            for row in rows:
                if row["checkpoint_id"] in seen:  # a forged chain may be a ring
                    return
                seen.add(row["checkpoint_id"])
                yield _stored(place.tenant, row)
            if len(rows) < PAGE:
                return
            checkpoint_id = from_text(rows[-1]["checkpoint_id"])

    async def adelete_thread(self, thread_id: str) -> None:
        """Checkpoints, writes, stored values, the ledger and the lease."""
        await self._value("SELECT ragents_threads.delete_thread($1, $2)", to_text(self.tenant), to_text(thread_id))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        runs = [to_text(str(run)) for run in run_ids]
        if runs:
            await self._value("SELECT ragents_threads.delete_runs($1, $2)", to_text(self.tenant), runs)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """The whole chain, bound to its new place. Nothing is trimmed on the way. Conflict when the target exists."""
        await self._refuse_existing(target_thread_id)
        async for stored in self._list(
            self.tenant,
            thread=source_thread_id,
            namespace=None,
            checkpoint_id=None,
            metadata={},
            before=None,
            limit=None,
        ):
            moved = self._moved(stored, Place(self.tenant, target_thread_id, stored.place.namespace))
            await self._store(moved, fence=None, keep=None)
            tasks: dict[str, list[StoredWrite]] = {}
            for write in moved.writes:
                tasks.setdefault(write.task_id, []).append(write)
            for writes in tasks.values():
                await self._put_writes(moved.place, moved.id, writes, fence=None)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """ "keep_latest" keeps the newest checkpoint of each namespace and what it needs, "delete" nothing."""
        if strategy not in ("keep_latest", "delete"):
            raise InputError(f"strategy = {strategy!r}: expected 'keep_latest' or 'delete'", field="strategy")
        for thread_id in thread_ids:
            if strategy == "delete":
                await self.adelete_thread(thread_id)
            else:
                await self._value(
                    "SELECT ragents_threads.prune_thread($1, $2)", to_text(self.tenant), to_text(thread_id)
                )

    async def _value(self, statement: str, *arguments: Any) -> Any:
        async with self.connections.use() as db:
            return await db.fetchval(statement, *arguments)

    async def _run(self, item: Item) -> None:
        try:
            await self._batches.run(item)
        except asyncpg.PostgresError as error:
            if error.sqlstate == TAKEN:
                raise ThreadTaken("the thread was taken over by another request; nothing was written") from None
            raise


def _number(write: StoredWrite) -> int:
    return write.index


def _order(write: StoredWrite) -> tuple[str, str, int]:
    return write.order


def _stored(tenant: str, row: asyncpg.Record) -> StoredCheckpoint:
    place = Place(tenant, from_text(row["thread_id"]), from_text(row["checkpoint_ns"]))
    large: dict[str, str] = {}
    blobs: dict[str, bytes] = {}
    for key, blob in zip(row["large"] or (), row["blobs"] or (), strict=True):
        version, _, channel = from_text(key).partition("/")
        large[channel] = version
        blobs[channel] = blob or b""  # a value that is gone is refused when it is read, by name
    writes = [
        unpack_write(from_text(task), record)
        for task, record in zip(row["tasks"] or (), row["records"] or (), strict=True)
    ]
    parent = row["parent_id"]
    return StoredCheckpoint(
        place,
        from_text(row["checkpoint_id"]),
        None if parent is None else from_text(parent),
        json.loads(row["metadata"]),
        row["payload"],
        large,
        blobs,
        sorted(writes, key=_order),
        [from_text(channel) for channel in row["snapshots"] or ()],
    )
