"""Answers in this process: for one process, and the double of those on Postgres."""

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


@dataclass(frozen=True, slots=True)
class _Entry:
    collection: str
    epoch: int
    question: str
    embedding: Vectors
    packed: bytes
    kept_at: float


class MemoryAnswers:
    """An AnswerStore for one event loop. Answers of an older epoch go when one of a newer epoch is kept."""

    def __init__(self, config: SemanticCacheConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._tenants: OrderedDict[str, OrderedDict[Key, _Entry]] = OrderedDict()

    async def nearest(
        self, scope: CacheScope, embedding: Vectors, *, at_least: float, limit: int
    ) -> list[StoredQuestion]:
        own = scope_digest(scope)
        found = [(key[1], entry) for key, entry in self._living(scope.tenant).items() if key[0] == own]
        if not found:
            return []
        similarities = np.stack([entry.embedding for _, entry in found]) @ embedding
        near = [
            StoredQuestion(digest, entry.question, float(similarity))
            for (digest, entry), similarity in zip(found, similarities, strict=True)
            if similarity >= at_least
        ]
        return sorted(near, key=lambda each: (-each.similarity, each.digest))[:limit]

    async def answer(self, scope: CacheScope, digest: bytes) -> StoredAnswer | None:
        entry = self._living(scope.tenant).get((scope_digest(scope), digest))
        return None if entry is None else StoredAnswer(entry.packed, self._clock() - entry.kept_at)

    async def keep(self, scope: CacheScope, question: str, embedding: Vectors, packed: bytes) -> int:
        entries = self._living(scope.tenant)
        for key, entry in list(entries.items()):
            if entry.collection == scope.collection and entry.epoch < scope.epoch:
                del entries[key]
        key = (scope_digest(scope), question_digest(question))
        entries.pop(key, None)
        entries[key] = _Entry(scope.collection, scope.epoch, question, embedding.copy(), packed, self._clock())
        self._tenants[scope.tenant] = entries
        self._tenants.move_to_end(scope.tenant)
        if len(self._tenants) > MAX_TENANTS:
            self._tenants.popitem(last=False)
        dropped = max(0, len(entries) - self._config.max_entries_per_tenant)
        for _ in range(dropped):
            entries.popitem(last=False)
        return dropped

    async def clear(self, tenant: str) -> int:
        return len(self._tenants.pop(tenant, {}))

    async def usage(self, tenant: str) -> AnswerUsage:
        entries = self._living(tenant).values()
        return AnswerUsage(len(entries), sum(len(entry.packed) for entry in entries))

    def _living(self, tenant: str) -> OrderedDict[Key, _Entry]:
        """The tenant's answers, oldest first, once those whose time is over are gone."""
        entries = self._tenants.get(tenant, OrderedDict())
        oldest = self._clock() - self._config.ttl_s
        while entries and next(iter(entries.values())).kept_at <= oldest:
            entries.popitem(last=False)
        return entries
