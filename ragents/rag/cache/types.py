"""The cache's vocabulary: its settings, the scope that keeps answers apart, and the port of its backends."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pydantic import Field, SecretStr

from ragents.config.base import Config
from ragents.rag.cache.version import code_version

Layer = Literal["embedding", "chunk", "retrieval", "query_rewrite", "answer"]
LAYERS: tuple[Layer, ...] = ("embedding", "chunk", "retrieval", "query_rewrite", "answer")
OF_DOCUMENTS: tuple[Layer, ...] = ("embedding", "chunk", "retrieval", "answer")
"""Those whose entries are made of documents: when one is deleted, nothing of it is to be left there. Among embeddings
are those of the sentences that the extractive model chose from."""
LONGEST_S = 10 * 365 * 86_400.0
"""Ten years: a time that Redis and Postgres can add to any other."""


class CacheConfig(Config):
    """Times to live in seconds; 0 switches a layer off. The budget is for all layers together: of one process in
    memory, of all that share it on Redis.
    """

    backend: Literal["memory", "redis"] = "memory"
    redis_url: SecretStr = SecretStr("redis://localhost:6379/0")
    namespace: str = Field(
        default="ragents", pattern=r"^[A-Za-z0-9_-]{1,40}$", description="what Redis keys begin with"
    )
    timeout_s: float = Field(
        default=0.05, gt=0, description="what a request waits for its caches, all look-ups together"
    )
    retry_s: float = Field(default=1.0, gt=0, description="how often a Redis that is away is looked for")
    refresh_share: float = Field(
        default=0.1, ge=0, lt=1, description="in this last share of an answer's time one question is answered afresh"
    )
    embedding_ttl: float = Field(default=86_400, ge=0, le=LONGEST_S)
    retrieval_ttl: float = Field(default=3_600, ge=0, le=LONGEST_S)
    query_rewrite_ttl: float = Field(default=7_200, ge=0, le=LONGEST_S)
    answer_ttl: float = Field(default=3_600, ge=0, le=LONGEST_S)
    chunk_ttl: float = Field(
        default=604_800, ge=0, le=LONGEST_S, description="of the vectors of documents' chunks, on Redis only"
    )
    chunk_share: float = Field(default=0.2, gt=0, lt=1, description="of the budget, for those vectors")
    enable_compression: bool = True
    enable_stats: bool = True
    max_cache_size_mb: float = Field(default=1_000, gt=0, le=1e9)

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
            case "chunk":
                return self.chunk_ttl if self.backend == "redis" else 0


@dataclass(frozen=True, slots=True)
class CacheScope:
    """Everything besides the question and this package's code that an entry depends on: two scopes that differ never
    share an entry.

    `access` is a digest of what the caller may see, where that is less than the tenant's all. `epoch` is the
    collection's: any change of it moves the epoch on, so what was cached before is never found again.
    """

    tenant: str = ""
    collection: str = ""
    epoch: int = 0
    model: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    access: str = ""

    def key(self, layer: Layer, text: str) -> str:
        """`parameters` must be JSON values; canonical JSON keeps ("ab", "c") and ("a", "bc") apart."""
        scope = [self.tenant, self.access, self.collection, self.epoch, self.model, dict(self.parameters)]
        parts = [code_version(), layer, *scope, text]
        canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def rewrite_scope(
    *,
    tenant: str,
    models: Sequence[str],
    prompt: str,
    history: str = "",
    parameters: Mapping[str, object] | None = None,
) -> CacheScope:
    """What a model makes of a question depends on these, and on no document. `prompt`: its whole text, so that another
    wording of it is another version; `history`: a digest of the conversation.
    """
    return CacheScope(
        tenant=tenant,
        parameters={"models": list(models), "prompt": prompt, "history": history, **(parameters or {})},
    )


@dataclass(frozen=True, slots=True)
class Held:
    """An entry's value, how old it is, and how long it still lives."""

    value: bytes
    age_s: float
    left_s: float


@dataclass(frozen=True, slots=True)
class CacheUsage:
    """Look-ups and evictions so far; entries and bytes held now, and the mean age of those entries."""

    hits: int = 0
    misses: int = 0
    entries: int = 0
    bytes: int = 0
    evictions: int = 0
    age_s: float | None = None


class CacheBackend(Protocol):
    """Bytes by key, within a budget. A key is "layer:owner:digest"; usage is counted by "layer:owner" and by "layer".

    A backend may forget at any time; it never returns what has expired. But for `clear` no method raises: what is
    broken has forgotten everything.
    """

    async def get_many(self, keys: Sequence[str]) -> list[Held | None]:
        """In the order of the keys; each counts as a hit or a miss."""
        ...

    async def set(self, key: str, value: bytes, ttl_s: float) -> list[str]:
        """The keys that were dropped for the budget."""
        ...

    async def reject(self, key: str) -> None:
        """What was got cannot be read: it goes, and its hit becomes a miss."""
        ...

    async def clear(self, prefix: str = "") -> int:
        """Remove the keys that begin with `prefix`; how many there were. BackendUnavailable when it cannot."""
        ...

    async def usage(self, group: str = "") -> CacheUsage | None:
        """None when it is not known now."""
        ...

    async def take(self, name: str, owner: str, ttl_s: float) -> bool:
        """Hold a name, or go on holding it, for `ttl_s`. False while another owner holds it."""
        ...

    async def give(self, name: str, owner: str) -> None:
        """Let a name go, if it is the owner's."""
        ...

    @property
    def state(self) -> str | None:
        """What does not work, for people; None when all does."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class LayerStats:
    """`hit_rate` is hits / (hits + misses) in 0..1, and 0 before the first look-up; `age_s` the entries' mean age."""

    hits: int = 0
    misses: int = 0
    entries: int = 0
    bytes: int = 0
    evictions: int = 0
    age_s: float | None = None

    @property
    def hit_rate(self) -> float:
        total = self.hits + self.misses
        return self.hits / total if total else 0.0

    @staticmethod
    def total(stats: Sequence["LayerStats"]) -> "LayerStats":
        entries = sum(s.entries for s in stats)
        return LayerStats(
            hits=sum(s.hits for s in stats),
            misses=sum(s.misses for s in stats),
            entries=entries,
            bytes=sum(s.bytes for s in stats),
            evictions=sum(s.evictions for s in stats),
            age_s=sum(s.entries * (s.age_s or 0.0) for s in stats) / entries if entries else None,
        )
