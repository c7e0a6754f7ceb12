"""Answers in this process: for one process, and the double of those on Postgres."""

import heapq
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ragents.embeddings.types import Vectors
from ragents.rag.cache.semantic.types import (
    AnswerUsage,
    SemanticCacheConfig,
    StoredAnswer,
    StoredQuestion,
    question_digest,
    scope_digest,
)
from ragents.rag.cache.types import CacheScope

MAX_TENANTS = 100
"""The tenant that has kept nothing for longest is forgotten beyond."""
Key = tuple[bytes, bytes]
"""Digests of scope and question."""


@dataclass(frozen=True, slots=True)
class _Entry:
    collection: str
    epoch: int
    question: str
    packed: bytes
    kept_at: float


class _Vectors:
    """The vectors of one scope as rows of one matrix, which comparing them with a question's reads as it is."""

    def __init__(self, dimension: int) -> None:
        self._matrix: Vectors = np.zeros((8, dimension), np.float32)
        self._rows: dict[bytes, int] = {}
        self._free = list(range(len(self._matrix)))

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, digest: bytes, vector: Vectors) -> None:
        if not self._free:
            used = len(self._matrix)
            self._matrix = np.concatenate((self._matrix, np.zeros_like(self._matrix)))
            self._free = list(range(used, 2 * used))
        self._rows[digest] = row = self._free.pop()
        self._matrix[row] = vector

    def remove(self, digest: bytes) -> None:
        self._free.append(self._rows.pop(digest))

    def near(self, vector: Vectors, at_least: float, limit: int) -> list[tuple[float, bytes]]:
        """Nearest first."""
        similarities = (self._matrix @ vector).tolist()
        found = [(-similarities[row], digest) for digest, row in self._rows.items() if similarities[row] >= at_least]
        return [(-distance, digest) for distance, digest in heapq.nsmallest(limit, found)]


class _Tenant:
    """Entries by key, oldest first, and their vectors by scope."""

    def __init__(self) -> None:
        self.entries: OrderedDict[Key, _Entry] = OrderedDict()
        self.vectors: dict[bytes, _Vectors] = {}

    def put(self, key: Key, entry: _Entry, embedding: Vectors) -> None:
        if key in self.entries:
            self.remove(key)
        self.entries[key] = entry
        self.vectors.setdefault(key[0], _Vectors(len(embedding))).put(key[1], embedding)

    def remove(self, key: Key) -> None:
        del self.entries[key]
        self.vectors[key[0]].remove(key[1])
        if not self.vectors[key[0]]:
            del self.vectors[key[0]]


class MemoryAnswers:
    """An AnswerStore for one event loop. Answers of an older epoch go when one of a newer epoch is kept."""

    def __init__(self, config: SemanticCacheConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()

    async def nearest(
        self, scope: CacheScope, embedding: Vectors, *, at_least: float, limit: int
    ) -> list[StoredQuestion]:
        tenant, own = self._living(scope.tenant), scope_digest(scope)
        near = tenant.vectors[own].near(embedding, at_least, limit) if own in tenant.vectors else []
        return [StoredQuestion(digest, tenant.entries[own, digest].question, share) for share, digest in near]

    async def answer(self, scope: CacheScope, digest: bytes) -> StoredAnswer | None:
        entry = self._living(scope.tenant).entries.get((scope_digest(scope), digest))
        return None if entry is None else StoredAnswer(entry.packed, self._clock() - entry.kept_at)

    async def keep(self, scope: CacheScope, question: str, embedding: Vectors, packed: bytes) -> int:
        tenant = self._living(scope.tenant)
        for key, entry in list(tenant.entries.items()):
            if entry.collection == scope.collection and entry.epoch < scope.epoch:
                tenant.remove(key)
        entry = _Entry(scope.collection, scope.epoch, question, packed, self._clock())
        tenant.put((scope_digest(scope), question_digest(question)), entry, embedding)
        self._tenants[scope.tenant] = tenant
        self._tenants.move_to_end(scope.tenant)
        if len(self._tenants) > MAX_TENANTS:
            self._tenants.popitem(last=False)
        dropped = max(0, len(tenant.entries) - self._config.max_entries_per_tenant)
        for _ in range(dropped):
            tenant.remove(next(iter(tenant.entries)))
        return dropped

    async def clear(self, tenant: str | None) -> int:
        removed = [self._tenants.pop(name, None) for name in self._named(tenant)]
        return sum(len(each.entries) for each in removed if each is not None)

    async def usage(self, tenant: str | None) -> AnswerUsage:
        entries = [entry for name in self._named(tenant) for entry in self._living(name).entries.values()]
        if not entries:
            return AnswerUsage()
        age_s = self._clock() - sum(entry.kept_at for entry in entries) / len(entries)
        return AnswerUsage(len(entries), sum(len(entry.packed) for entry in entries), max(0.0, age_s))

    def _named(self, tenant: str | None) -> list[str]:
        return list(self._tenants) if tenant is None else [tenant]

    def _living(self, name: str) -> _Tenant:
        """The tenant, once the answers whose time is over are gone."""
        tenant = self._tenants.get(name) or _Tenant()
        oldest = self._clock() - self._config.ttl_s
        while tenant.entries and next(iter(tenant.entries.values())).kept_at <= oldest:
            tenant.remove(next(iter(tenant.entries)))
        return tenant
