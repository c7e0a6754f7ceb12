"""Answers on Postgres with pgvector: shared by all processes, under row-level security as the tenant."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from ragents.embeddings.types import Vectors
from ragents.postgres import Connections
from ragents.postgres.queries import load_queries
from ragents.rag.cache.semantic.types import (
    AnswerUsage,
    SemanticCacheConfig,
    StoredAnswer,
    StoredQuestion,
    question_digest,
    scope_digest,
)
from ragents.rag.cache.types import CacheScope

SQL = load_queries(Path(__file__).with_name("queries.sql"))


class PgAnswers:
    """An AnswerStore over the connections of the store, which it does not close. Writers of one tenant that come at the
    same moment may leave a few rows more than its bound; the next one drops them.
    """

    def __init__(self, connections: Connections, config: SemanticCacheConfig) -> None:
        self._connections = connections.called("semantic cache")
        self._config = config

    async def nearest(
        self, scope: CacheScope, embedding: Vectors, *, at_least: float, limit: int
    ) -> list[StoredQuestion]:
        async with self._as(scope.tenant) as db:
            rows = await db.fetch(
                SQL["nearest"], scope.tenant, scope_digest(scope), embedding.tolist(), at_least, limit
            )
        return [StoredQuestion(**row) for row in rows]

    async def answer(self, scope: CacheScope, digest: bytes) -> StoredAnswer | None:
        async with self._as(scope.tenant) as db:
            row = await db.fetchrow(SQL["answer"], scope.tenant, scope_digest(scope), digest)
        return None if row is None else StoredAnswer(row["answer"], row["age_s"])

    async def keep(self, scope: CacheScope, question: str, embedding: Vectors, packed: bytes) -> int:
        async with self._as(scope.tenant) as db:
            dropped: int = await db.fetchval(
                SQL["keep"],
                scope.tenant,
                scope_digest(scope),
                question_digest(question),
                scope.collection,
                scope.epoch,
                _storable(question),
                embedding.tolist(),
                packed,
                self._config.ttl_s,
                self._config.max_entries_per_tenant,
            )
        return dropped

    async def clear(self, tenant: str | None) -> int:
        removed: int
        if tenant is None:
            async with self._connections.use() as db:
                removed = await db.fetchval(SQL["clear_all"])
            return removed
        async with self._as(tenant) as db:
            removed = await db.fetchval(SQL["clear"], tenant)
        return removed

    async def usage(self, tenant: str | None) -> AnswerUsage:
        if tenant is None:
            async with self._connections.use() as db:
                return AnswerUsage(**await db.fetchrow(SQL["usage_of_all"]))
        async with self._as(tenant) as db:
            return AnswerUsage(**await db.fetchrow(SQL["usage"], tenant))

    @asynccontextmanager
    async def _as(self, tenant: str) -> AsyncIterator[asyncpg.Connection]:
        async with self._connections.use() as db, db.transaction():
            await db.execute(SQL["set_tenant"], tenant)
            yield db


def _storable(text: str) -> str:
    """Postgres takes neither NUL nor half of a surrogate pair."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
