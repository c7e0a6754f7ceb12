"""Checkpoints and writes as the bytes that the scripts store. thread.lua knows the positions."""

import json
from collections.abc import Iterator
from typing import Any, cast

from ragents.agents.checkpointing.framing import framed, parts_of
from ragents.agents.checkpointing.redis.keys import escape, joined, parted, unescape
from ragents.agents.checkpointing.rows import COUNTERS, Place, StoredCheckpoint, StoredWrite, dumps_json
from ragents.errors import CheckpointRefused

BIAS = 2**31
"""Added to a write's number, which may be negative: ten digits each."""


def ref(channel: str, version: str) -> bytes:
    """Names a large value within its namespace."""
    return joined(channel, version)


def root_of(stored: StoredCheckpoint) -> str:
    """The root checkpoint with which this one goes: of the call it belongs to. '' when it stays on its own account.

    A namespace with ":" is one call of a subgraph; without it, it goes on from turn to turn.
    """
    if ":" not in stored.place.namespace:
        return ""
    parents = stored.metadata.get("parents")
    return str(parents.get("", "")) if isinstance(parents, dict) else ""


def pack_checkpoint(stored: StoredCheckpoint) -> bytes:
    return framed(
        [
            escape(stored.parent or ""),
            framed([ref(channel, version) for channel, version in stored.large.items()]),
            framed([escape(channel) for channel in stored.metadata.get(COUNTERS, ())]),
            framed([escape(channel) for channel in stored.snapshots]),
            escape(root_of(stored)),
            dumps_json(stored.metadata).encode(),
            stored.payload,
        ]
    )


def pack_write(write: StoredWrite) -> tuple[bytes, bytes]:
    """The end of its field, and the record."""
    name = joined(write.task_id, f"{write.index + BIAS:010d}")
    return name, framed([escape(write.task_path), escape(write.channel), write.payload])


def unpack_reply(tenant: str, thread: str, reply: bytes) -> Iterator[StoredCheckpoint]:
    """What read.lua answers."""
    parts = parts_of(reply)
    for at in range(0, len(parts), 6):
        namespace, id_, has_parent, record, values, writes = parts[at : at + 6]
        place = Place(tenant, thread, unescape(namespace))
        yield _unpack(place, unescape(id_), bool(has_parent), record, parts_of(values), parts_of(writes))


def _unpack(
    place: Place, id_: str, has_parent: bool, record: bytes, values: list[bytes], writes: list[bytes]
) -> StoredCheckpoint:
    parent, refs, _, snapshots, _, metadata, payload = _record(record, 7)
    large: dict[str, str] = dict(parted(each) for each in parts_of(refs))  # pairs
    return StoredCheckpoint(
        place,
        id_,
        unescape(parent) if has_parent else None,
        cast(dict[str, Any], json.loads(metadata)),
        payload,
        large,
        dict(zip(large, values, strict=False)),
        sorted((_write(writes[at], writes[at + 1]) for at in range(0, len(writes), 2)), key=_order),
        [unescape(channel) for channel in parts_of(snapshots)],
    )


def _write(name: bytes, record: bytes) -> StoredWrite:
    task_id, number = parted(name)
    path, channel, payload = _record(record, 3)
    return StoredWrite(task_id, unescape(path), int(number) - BIAS, unescape(channel), payload)


def _order(write: StoredWrite) -> tuple[str, str, int]:
    return write.order


def _record(data: bytes, size: int) -> list[bytes]:
    parts = parts_of(data)
    if len(parts) != size:
        raise CheckpointRefused("a row of another shape; it was not written by this version of RAGents")
    return parts
