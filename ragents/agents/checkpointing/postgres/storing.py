"""What one call of ragents_threads.store takes: everything that came together, tenant by tenant."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import asyncpg

from ragents.agents.checkpointing.postgres.text import array, optional, to_text
from ragents.agents.checkpointing.rows import Place, StoredCheckpoint, dumps_json
from ragents.postgres import Connections

ARGUMENTS = 27
STORE = f"SELECT ragents_threads.store({', '.join(f'${n}' for n in range(1, ARGUMENTS + 1))})"
AT_ONCE = 2
MOST = 32


class Located(NamedTuple):
    """A `Place` as Postgres can keep it."""

    tenant: str
    thread: str
    space: str


@dataclass(frozen=True, slots=True)
class CheckpointItem:
    """`keep`: trim the namespace to so many checkpoints; None: not now."""

    where: Located
    stored: StoredCheckpoint
    fence: int | None
    keep: int | None


@dataclass(frozen=True, slots=True)
class WritesItem:
    """The writes of one task, as records with ascending numbers."""

    where: Located
    checkpoint_id: str
    task_id: str
    records: Sequence[bytes]
    fence: int | None


Item = CheckpointItem | WritesItem


class Storing:
    """`together` is for `Batches`: the items of a batch are stored in one transaction, all or none."""

    def __init__(self, connections: Connections, *, ttl_s: float | None) -> None:
        self._connections = connections
        self._ttl_s = ttl_s

    async def together(self, items: Sequence[Item]) -> Sequence[Exception | None]:
        try:
            await self._store(items)
        except asyncpg.PostgresError as error:
            if len(items) == 1:
                return [error]
        else:
            return [None] * len(items)
        # One of them is to blame: each alone, so that it gets its own error and the others none.
        return [await self._alone(item) for item in items]

    async def _alone(self, item: Item) -> Exception | None:
        try:
            await self._store([item])
        except Exception as error:
            return error
        return None

    async def _store(self, items: Sequence[Item]) -> None:
        ordered = sorted(items, key=_where)
        calls = [arguments_of(tenant, list(some), ttl_s=self._ttl_s) for tenant, some in groupby(ordered, key=_tenant)]
        async with self._connections.use() as db:
            if len(calls) == 1:
                await db.fetchval(STORE, *calls[0])
            else:
                await db.executemany(STORE, calls)  # one transaction


def arguments_of(tenant: str, items: Sequence[Item], *, ttl_s: float | None) -> list[Any]:
    """The parameters of `store`, in its order. `items` are sorted by thread, and of this tenant."""
    locks: dict[str, str] = {}
    fences: dict[tuple[str, int], None] = {}
    blobs, checkpoints, writes = _Columns(4), _Columns(10), _Columns(6)
    records: list[bytes] = []
    for item in items:
        _, thread, space = item.where
        locks.setdefault(thread, "")
        if item.fence is not None:
            fences[thread, item.fence] = None
        if isinstance(item, WritesItem):
            first = len(records) + 1
            records += item.records
            writes.add(thread, space, to_text(item.checkpoint_id), to_text(item.task_id), first, len(records))
            continue
        stored = item.stored
        keys = [key_of(channel, version) for channel, version in stored.large.items()]
        for key, channel in zip(keys, stored.large, strict=True):
            blobs.add(thread, space, key, stored.blobs.get(channel))
        if item.keep is not None:
            locks[thread] = "x"
        elif keys:
            locks[thread] = locks[thread] or "s"
        checkpoints.add(
            thread,
            space,
            to_text(stored.id),
            optional(stored.parent),
            optional(stored.run_id),
            dumps_json(stored.metadata),
            array(keys) if keys else None,
            array(map(to_text, stored.snapshots)) if stored.snapshots else None,
            stored.payload,
            item.keep,
        )
    *known, keeps = checkpoints.columns
    return [
        tenant,
        ttl_s,
        list(locks),
        list(locks.values()) if any(locks.values()) else None,
        [thread for thread, _ in fences] or None,
        [fence for _, fence in fences] or None,
        *blobs.or_none(),
        *(each or None for each in known),
        keeps if any(keep is not None for keep in keeps) else None,
        *writes.or_none(),
        records or None,
    ]


class _Columns:
    """Rows on their way to `unnest`."""

    def __init__(self, width: int) -> None:
        self.columns: list[list[Any]] = [[] for _ in range(width)]

    def add(self, *row: Any) -> None:
        for column, value in zip(self.columns, row, strict=True):
            column.append(value)

    def or_none(self) -> list[list[Any] | None]:
        return [column or None for column in self.columns]


def located(place: Place) -> Located:
    return Located(to_text(place.tenant), to_text(place.thread), to_text(place.namespace))


def key_of(channel: str, version: str) -> str:
    """Names a large value within its namespace."""
    return to_text(f"{version}/{channel}")


def _where(item: Item) -> Located:
    return item.where


def _tenant(item: Item) -> str:
    return item.where.tenant
