"""The words of the semantic cache: its settings, what it finds, and the port that answers are kept behind."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import Field

from ragents.config.base import Config
from ragents.embeddings.types import Vectors
from ragents.rag.cache.semantic.gate import THRESHOLD
from ragents.rag.cache.types import LONGEST_S, CacheScope
from ragents.rag.types import RAGResponse


class SemanticCacheConfig(Config):
    """Off by default: an answer to other words than were asked is a choice of who runs the service."""

    enabled: bool = False
    threshold: float = Field(default=THRESHOLD, ge=0.5, le=1, description="least cosine of two questions")
    ttl_s: float = Field(default=3_600, gt=0, le=LONGEST_S)
    max_entries_per_tenant: int = Field(default=2_000, ge=1, le=100_000)
    max_answer_bytes: int = Field(default=256 * 1024, ge=1_024, description="compressed; a longer answer is not kept")
    max_question_characters: int = Field(
        default=500, ge=1, description="longer questions are neither kept nor looked up"
    )
    min_confidence: float = Field(default=0.5, ge=0, le=1, description="answers below it are not kept")
    timeout_s: float = Field(default=0.25, gt=0, description="longest that a question waits for a look-up or a write")
    shadow_share: float = Field(default=0.02, ge=0, le=1, description="of the hits, answered afresh and compared")
    max_false_hit_rate: float = Field(default=0.001, ge=0, le=1, description="above it the layer switches itself off")
    min_shadow_samples: int = Field(default=20, ge=1, description="comparisons before it may switch itself off")


@dataclass(frozen=True, slots=True)
class StoredQuestion:
    """A question that has an answer in the scope, and the cosine to the one that is asked."""

    digest: bytes
    question: str
    similarity: float


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """`packed` is the answer as `packing.pack` makes it, `age_s` the seconds since it was kept."""

    packed: bytes
    age_s: float


@dataclass(frozen=True, slots=True)
class SemanticHit:
    """An answer to another wording. `shadow`: answer the question afresh, serve that, and call `compare` with both."""

    response: RAGResponse
    question: str
    """as it was asked when the answer was made"""
    similarity: float
    age_s: float
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class AnswerUsage:
    """`age_s`: mean age of the entries, None without any."""

    entries: int = 0
    bytes: int = 0
    age_s: float | None = field(default=None, compare=False)  # another one at every look


@dataclass(frozen=True, slots=True)
class SemanticStats:
    """Of one process; `entries`, `bytes` and their mean `age_s` are by all processes that share the store."""

    hits: int = 0
    misses: int = 0
    entries: int = 0
    bytes: int = 0
    evictions: int = 0
    refused: int = 0
    """misses that had a question near enough, which the gate kept apart"""
    shadow_samples: int = 0
    shadow_differences: int = 0
    errors: int = 0
    """look-ups and writes that failed or took too long; each counts as a miss"""
    age_s: float | None = None
    known: bool = True
    """False when the store did not tell: entries and bytes are not 0, but unknown"""
    off_because: str | None = None
    """why the layer answers nothing"""

    @property
    def hit_rate(self) -> float:
        total = self.hits + self.misses
        return self.hits / total if total else 0.0

    @property
    def false_hit_rate(self) -> float:
        """Measured: the share of compared hits whose fresh answer was another one."""
        return self.shadow_differences / self.shadow_samples if self.shadow_samples else 0.0


class AnswerStore(Protocol):
    """Packed answers by scope and question. It never returns what has expired, and holds a bounded number per tenant.

    BackendUnavailable where the store is another process and cannot be reached.
    """

    async def nearest(
        self, scope: CacheScope, embedding: Vectors, *, at_least: float, limit: int
    ) -> Sequence[StoredQuestion]:
        """Nearest first, of this scope only."""
        ...

    async def answer(self, scope: CacheScope, digest: bytes) -> StoredAnswer | None: ...

    async def keep(self, scope: CacheScope, question: str, embedding: Vectors, packed: bytes) -> int:
        """Replaces the answer to the same question; how many others of the tenant were dropped for it."""
        ...

    async def clear(self, tenant: str | None) -> int:
        """How many of the tenant's answers there were; of all tenants with None."""
        ...

    async def usage(self, tenant: str | None) -> AnswerUsage:
        """Of one tenant, or of all with None."""
        ...


def scope_digest(scope: CacheScope) -> bytes:
    return bytes.fromhex(scope.key("answer", ""))


def question_digest(question: str) -> bytes:
    return hashlib.sha256(question.encode("utf-8", "surrogatepass")).digest()
