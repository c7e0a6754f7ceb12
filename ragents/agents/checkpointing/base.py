"""DurableSaver: what the savers on Postgres and on Redis share. They store rows; this class knows what is in them.

LangGraph's contract is langgraph.checkpoint.base.BaseCheckpointSaver. Beside it:

- `configurable["tenant"]` (default "") is part of every key; `for_tenant` binds it for the methods that take no config.
- `configurable["__fence"]` is the number under which the caller holds the thread (see leases.py): once the thread has
  been taken by somebody else, nothing more is written under the old number (ThreadTaken).
- The sync methods run the async ones on the loop that opened the saver (twins.py).
"""

import copy
import random
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Self, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    PendingWrite,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from ragents.agents.checkpointing.codec import Codec
from ragents.agents.checkpointing.rows import (
    COUNTERS,
    Place,
    StoredCheckpoint,
    StoredWrite,
    json_safe,
    metadata_of,
    place_of_write,
)
from ragents.agents.checkpointing.twins import SyncTwins
from ragents.errors import Conflict

LARGE_BYTES = 2048
"""A channel's serialized value beyond this is stored once per version, beside the checkpoints that share it."""
KNOWN_CHANNELS = 20_000
"""Channels of threads whose last large value a process remembers, so as not to serialize it again at each step."""


class DurableSaver(SyncTwins):
    """Subclasses store and find rows. Made by `create_checkpoint_saver`."""

    backend: str

    def __init__(self, *, serde: JsonPlusSerializer, codec: Codec, tenant: str = "") -> None:
        super().__init__(serde=serde)
        self.codec = codec
        self.tenant = tenant
        self.on_write: Callable[[str, int], None] | None = None
        """told the backend's name and the bytes of what was stored"""
        self._known: OrderedDict[tuple[Place, str], str] = OrderedDict()

    def for_tenant(self, tenant: str) -> Self:
        """The same saver, whose delete_thread, copy_thread, prune, ... mean this tenant's threads."""
        clone = copy.copy(self)
        clone.tenant = tenant
        return clone

    def get_next_version(self, current: str | int | float | None, channel: None) -> str:
        """Ascending, and unlike any other branch's: stored values are found by it."""
        number = 0 if current is None else int(current.split(".")[0], 16) if isinstance(current, str) else int(current)
        return f"{number + 1:08x}.{random.getrandbits(48):012x}"

    # What subclasses do.

    @abstractmethod
    async def _put(self, stored: StoredCheckpoint, *, fence: int | None) -> list[str]:
        """Store; or, when values of `large` are neither given nor there, store nothing and name their channels."""

    @abstractmethod
    async def _put_writes(
        self, place: Place, checkpoint_id: str, writes: Sequence[StoredWrite], *, fence: int | None
    ) -> None: ...

    @abstractmethod
    async def _get(self, place: Place, checkpoint_id: str | None) -> StoredCheckpoint | None: ...

    @abstractmethod
    def _list(
        self,
        tenant: str,
        *,
        thread: str | None,
        namespace: str | None,
        checkpoint_id: str | None,
        metadata: Mapping[str, Any],
        before: str | None,
        limit: int | None,
    ) -> AsyncIterator[StoredCheckpoint]: ...

    @abstractmethod
    def _ancestors(self, place: Place, checkpoint_id: str | None) -> AsyncIterator[StoredCheckpoint]:
        """From the parent of `checkpoint_id` (default: the newest) back to the root."""

    # LangGraph's contract.

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        place, checkpoint_id = self._place(config), config["configurable"].get("checkpoint_id")
        stored = await self._get(place, checkpoint_id)
        if stored is None:
            return None
        found = self._tuple(stored)
        return found._replace(config=config) if checkpoint_id else found

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Newest first. Without a config: all threads of the tenant."""
        if limit is not None and limit <= 0:
            return
        where = (config or {}).get("configurable", {})
        async for stored in self._list(
            where.get("tenant", self.tenant),
            thread=str(where["thread_id"]) if config else None,
            namespace=where.get("checkpoint_ns"),
            checkpoint_id=where.get("checkpoint_id"),
            metadata=json_safe(filter or {}),
            before=before["configurable"].get("checkpoint_id") if before else None,
            limit=limit,
        ):
            yield self._tuple(stored)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        place = self._place(config)
        where = config["configurable"]
        known = metadata_of(config, metadata)
        for trust in (True, False):  # what this process remembers as stored may have been deleted by another
            stored = self._encode(place, checkpoint, where.get("checkpoint_id"), known, new_versions, trust=trust)
            if not await self._put(stored, fence=where.get("__fence")):
                break
        self._remember(stored)
        if self.on_write is not None:
            self.on_write(self.backend, len(stored.payload) + sum(map(len, stored.blobs.values())))
        return self._config(place, checkpoint["id"])

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        place, checkpoint_id = self._place(config), str(config["configurable"]["checkpoint_id"])
        rows: dict[int, StoredWrite] = {}
        for position, (channel, value) in enumerate(writes):
            index = WRITES_IDX_MAP.get(channel, position)
            bound = place_of_write(place, checkpoint_id, task_path, task_id, index, channel)
            payload = self.codec.encode(self.serde, value, bound)
            rows[index] = StoredWrite(task_id, task_path, index, channel, payload)
        if rows:
            fence = config["configurable"].get("__fence")
            await self._put_writes(place, checkpoint_id, list(rows.values()), fence=fence)
            if self.on_write is not None:
                self.on_write(self.backend, sum(len(row.payload) for row in rows.values()))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Newest ancestor first, until each channel has met a stored value; nothing else is decoded."""
        writes: dict[str, list[PendingWrite]] = {channel: [] for channel in channels}
        seeds: dict[str, Any] = {}
        place = self._place(config)
        if channels:
            async for stored in self._ancestors(place, config["configurable"].get("checkpoint_id")):
                open_ = [channel for channel in channels if channel not in seeds]
                for write in reversed(stored.writes):
                    if write.channel in open_:
                        writes[write.channel].append(self._write(stored, write))
                # A delta channel with counters has no value here: the payload need not be read.
                if seekers := [channel for channel in open_ if channel not in stored.metadata.get(COUNTERS, {})]:
                    values = self._checkpoint(stored, only=seekers)["channel_values"]
                    seeds.update({channel: values[channel] for channel in seekers if channel in values})
                if len(seeds) == len(channels):
                    break
        return {channel: _history(writes[channel][::-1], seeds, channel) for channel in channels}

    # Rows and values.

    def _place(self, config: RunnableConfig) -> Place:
        where = config["configurable"]
        return Place(where.get("tenant", self.tenant), str(where["thread_id"]), where.get("checkpoint_ns") or "")

    def _config(self, place: Place, checkpoint_id: str) -> RunnableConfig:
        where = {
            "thread_id": place.thread,
            "checkpoint_ns": place.namespace,
            "checkpoint_id": checkpoint_id,
        }
        return {"configurable": {"tenant": place.tenant, **where} if place.tenant else where}

    def _encode(
        self,
        place: Place,
        checkpoint: Checkpoint,
        parent: str | None,
        metadata: Mapping[str, Any],
        new_versions: ChannelVersions,
        *,
        trust: bool,
    ) -> StoredCheckpoint:
        versions, inline = checkpoint["channel_versions"], dict(checkpoint["channel_values"])
        snapshots = [channel for channel, value in inline.items() if isinstance(value, _DeltaSnapshot)]
        large: dict[str, str] = {}
        blobs: dict[str, bytes] = {}

        def put_aside(channel: str) -> None:
            """Its value, when it is large. Only get_next_version's versions are known to be unlike other branches'."""
            version = versions.get(channel)
            if not isinstance(version, str):
                return
            type_, data = self.serde.dumps_typed(inline[channel])
            if len(data) > LARGE_BYTES:
                blobs[channel] = self.codec.seal(type_, data, place.of("channel", channel, version))
                large[channel] = version
                del inline[channel]

        for channel in list(inline) if self._known else ():
            stored_version = self._known.get((place, channel))
            if stored_version is None:
                continue
            if trust and channel not in new_versions and stored_version == versions.get(channel):
                large[channel] = stored_version
                del inline[channel]
            else:
                put_aside(channel)  # large the last time: so it is not serialized with the others first
        type_, data = self.serde.dumps_typed({**checkpoint, "channel_values": inline})
        if len(data) > LARGE_BYTES:
            there = len(inline)
            for channel in list(inline):
                put_aside(channel)
            if len(inline) < there:
                type_, data = self.serde.dumps_typed({**checkpoint, "channel_values": inline})
        payload = self.codec.seal(type_, data, place.of(checkpoint["id"], "checkpoint"))
        return StoredCheckpoint(place, checkpoint["id"], parent, metadata, payload, large, blobs, (), snapshots)

    def _remember(self, stored: StoredCheckpoint) -> None:
        for channel, version in stored.large.items():
            self._known[stored.place, channel] = version
            self._known.move_to_end((stored.place, channel))
        while len(self._known) > KNOWN_CHANNELS:
            self._known.popitem(last=False)

    def _checkpoint(self, stored: StoredCheckpoint, *, only: Sequence[str] | None = None) -> Checkpoint:
        """`only`: of the large values those of these channels."""
        place = stored.place
        checkpoint = cast(Checkpoint, self.codec.decode(self.serde, stored.payload, place.of(stored.id, "checkpoint")))
        for channel, version in stored.large.items():
            if only is not None and channel not in only:
                continue
            bound = place.of("channel", channel, version)
            checkpoint["channel_values"][channel] = self.codec.decode(self.serde, stored.blobs[channel], bound)
        return checkpoint

    def _write(self, stored: StoredCheckpoint, write: StoredWrite) -> PendingWrite:
        value = self.codec.decode(self.serde, write.payload, write.place(stored.place, stored.id))
        return (write.task_id, write.channel, value)

    def _tuple(self, stored: StoredCheckpoint) -> CheckpointTuple:
        return CheckpointTuple(
            config=self._config(stored.place, stored.id),
            checkpoint=self._checkpoint(stored),
            metadata=cast(CheckpointMetadata, dict(stored.metadata)),
            parent_config=self._config(stored.place, stored.parent) if stored.parent else None,
            pending_writes=[self._write(stored, write) for write in stored.writes],
        )

    def _moved(self, stored: StoredCheckpoint, target: Place) -> StoredCheckpoint:
        """The same checkpoint at another place: its values are bound to that place."""

        def again(data: bytes, old: Sequence[str], new: Sequence[str]) -> bytes:
            return self.codec.encode(self.serde, self.codec.decode(self.serde, data, old), new)

        old = stored.place
        return StoredCheckpoint(
            target,
            stored.id,
            stored.parent,
            stored.metadata,
            again(stored.payload, old.of(stored.id, "checkpoint"), target.of(stored.id, "checkpoint")),
            stored.large,
            {
                channel: again(
                    stored.blobs[channel], old.of("channel", channel, version), target.of("channel", channel, version)
                )
                for channel, version in stored.large.items()
            },
            [
                StoredWrite(
                    write.task_id,
                    write.task_path,
                    write.index,
                    write.channel,
                    again(write.payload, write.place(old, stored.id), write.place(target, stored.id)),
                )
                for write in stored.writes
            ],
            stored.snapshots,
        )

    async def _refuse_existing(self, thread_id: str) -> None:
        """A copy onto a thread that is there would mix the two."""
        async for _ in self.alist({"configurable": {"tenant": self.tenant, "thread_id": thread_id}}, limit=1):
            raise Conflict(f"the thread {thread_id!r} exists; copy to a new one, or delete it first")


def _history(writes: list[PendingWrite], seeds: Mapping[str, Any], channel: str) -> DeltaChannelHistory:
    if channel in seeds:
        return DeltaChannelHistory(writes=writes, seed=seeds[channel])
    return DeltaChannelHistory(writes=writes)
