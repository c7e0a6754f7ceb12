"""Rows: a checkpoint and its writes as they lie in a store, and which of them a thread needs."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointMetadata, get_serializable_checkpoint_metadata

COUNTERS = "counters_since_delta_snapshot"
"""LangGraph's metadata: delta channels that have been written since their value was last stored in full."""


ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class Place(NamedTuple):
    """Where a thread's checkpoints of one namespace are. Ids may hold any characters."""

    tenant: str
    thread: str
    namespace: str

    def of(self, *parts: str) -> tuple[str, ...]:
        """What a value at this place is bound to."""
        return (*self, *parts)


@dataclass(frozen=True, slots=True)
class StoredWrite:
    """`index` is negative for LangGraph's special channels (WRITES_IDX_MAP), which overwrite."""

    task_id: str
    task_path: str
    index: int
    channel: str
    payload: bytes

    @property
    def order(self) -> tuple[str, str, int]:
        """LangGraph's writes_sort_key."""
        return (self.task_path, self.task_id, self.index)

    def place(self, checkpoint: Place, checkpoint_id: str) -> tuple[str, ...]:
        return place_of_write(checkpoint, checkpoint_id, self.task_path, self.task_id, self.index, self.channel)


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint as it lies in the store. `large`: channel -> version of the values that lie beside it.

    `snapshots` names the delta channels whose value is stored here in full.
    """

    place: Place
    id: str
    parent: str | None
    metadata: Mapping[str, Any]
    payload: bytes
    large: Mapping[str, str] = field(default_factory=dict)
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    """channel -> value; on the way in only the values that may be missing"""
    writes: Sequence[StoredWrite] = ()
    snapshots: Sequence[str] = ()

    @property
    def run_id(self) -> str | None:
        value = self.metadata.get("run_id")
        return str(value) if value is not None else None


def metadata_of(config: RunnableConfig, metadata: CheckpointMetadata) -> dict[str, Any]:
    """As LangGraph's own savers keep it, as plain JSON that can be queried; without the tenant, which is a key."""
    where = {key: value for key, value in config.get("configurable", {}).items() if key != "tenant"}
    known = get_serializable_checkpoint_metadata(cast(RunnableConfig, {**config, "configurable": where}), metadata)
    return cast(dict[str, Any], json_safe(known))


def place_of_write(
    checkpoint: Place, checkpoint_id: str, task_path: str, task_id: str, index: int, channel: str
) -> tuple[str, ...]:
    """What a write is bound to: its order among the others too."""
    return (*checkpoint, checkpoint_id, "write", task_path, task_id, str(index), channel)


def dumps_json(value: Any) -> str:
    return ENCODER.encode(value)


def json_safe(value: Any) -> Any:
    """JSON without what Postgres refuses in it: NUL, lone surrogates, NaN. Other objects become their text."""
    kind = type(value)
    if kind is str:  # first what metadata is made of: this runs at every step
        plain = value.isascii() and "\0" not in value
        return value if plain else value.replace("\0", "").encode("utf-8", "replace").decode()
    if value is None or kind is int or kind is bool:
        return value
    if kind is dict:
        return {json_safe(str(key)): json_safe(each) for key, each in value.items()}
    match value:
        case int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return json_safe(str.__str__(value))
        case Mapping():
            return json_safe(dict(value))
        case list() | tuple() | set() | frozenset():
            return [json_safe(each) for each in value]
        case _:
            return json_safe(str(value))
