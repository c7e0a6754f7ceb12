"""The cache's vocabulary: its settings, the scope that keeps answers apart, and the port of its backends."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pydantic import Field

from ragents.config.base import Config

Layer = Literal["embedding", "retrieval", "query_rewrite", "answer"]
LAYERS: tuple[Layer, ...] = ("embedding", "retrieval", "query_rewrite", "answer")


class CacheConfig(Config):
    """Times to live in seconds; 0 switches a layer off. The budget is for all layers of one process together."""

    backend: Literal["memory"] = "memory"
    embedding_ttl: float = Field(default=86_400, ge=0)
    retrieval_ttl: float = Field(default=3_600, ge=0)
    query_rewrite_ttl: float = Field(default=7_200, ge=0)
    answer_ttl: float = Field(default=3_600, ge=0)
    enable_compression: bool = True
    enable_stats: bool = True
    max_cache_size_mb: float = Field(default=1_000, gt=0)

    def ttl_s(self, layer: Layer) -> float:
        match layer:
            case "embedding":
                return self.embedding_ttl
            case "retrieval":
                return self.retrieval_ttl
            case "query_rewrite":
                return self.query_rewrite_ttl
            case "answer":
                return self.answer_ttl


@dataclass(frozen=True, slots=True)
class CacheScope:
    """Everything besides the question that an entry depends on: two scopes that differ never share an entry.

    `epoch` is the collection's: any change of it moves the epoch on, so what was cached before is never found again.
    """

    tenant: str = ""
    collection: str = ""
    epoch: int = 0
    model: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)

    def key(self, layer: Layer, text: str) -> str:
        """`parameters` must be JSON values; canonical JSON keeps ("ab", "c") and ("a", "bc") apart."""
        parts = [layer, self.tenant, self.collection, self.epoch, self.model, dict(self.parameters), text]
        canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


class CacheBackend(Protocol):
    """Bytes by key. A backend may forget at any time; it never returns what has expired."""

    async def get(self, key: str) -> bytes | None: ...

    async def set(self, key: str, value: bytes, ttl_s: float) -> None: ...

    async def delete(self, key: str) -> bool: ...

    async def clear(self, prefix: str = "") -> int:
        """Remove the keys that begin with `prefix`; how many there were."""
        ...

    def usage(self, prefix: str = "") -> "CacheUsage":
        """Entries and bytes held now, evictions so far, of the keys that begin with `prefix`."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class CacheUsage:
    entries: int = 0
    bytes: int = 0
    evictions: int = 0


@dataclass(frozen=True, slots=True)
class LayerStats:
    """`hit_rate` is hits / (hits + misses) in 0..1, and 0 before the first look-up."""

    hits: int = 0
    misses: int = 0
    entries: int = 0
    bytes: int = 0
    evictions: int = 0

    @property
    def hit_rate(self) -> float:
        total = self.hits + self.misses
        return self.hits / total if total else 0.0

    @staticmethod
    def total(stats: Sequence["LayerStats"]) -> "LayerStats":
        return LayerStats(
            hits=sum(s.hits for s in stats),
            misses=sum(s.misses for s in stats),
            entries=sum(s.entries for s in stats),
            bytes=sum(s.bytes for s in stats),
            evictions=sum(s.evictions for s in stats),
        )
