"""What every AnswerStore does, in memory and on Postgres."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import numpy as np
import pytest

from ragents.embeddings.hashing import HashingEmbedder
from ragents.embeddings.types import Vectors
from ragents.principal import Principal
from ragents.rag.cache import CacheScope
from ragents.rag.cache.semantic import (
    AnswerStore,
    AnswerUsage,
    MemoryAnswers,
    PgAnswers,
    SemanticCacheConfig,
    create_semantic_cache,
)
from ragents.rag.store.pgvector import PgVectorStore, open_pgvector
from ragents.rag.store.types import StoreConfig
from ragents.rag.types import Chunk, Citation, Document, RAGResponse

CONFIG = SemanticCacheConfig(max_entries_per_tenant=3)
EAST, WEST = (np.array(each, np.float32) for each in ([1, 0, 0, 0], [-1, 0, 0, 0]))
COLLECTION = "c"


def between(share: float) -> Vectors:
    """A unit vector with this cosine to EAST."""
    vector: Vectors = np.array([share, np.sqrt(1 - share**2), 0, 0], np.float32)
    return vector


async def change(store: PgVectorStore, principal: Principal, text: str) -> int:
    """Write a document; the collection's epoch after that."""
    document = Document(uri="d", title="d", format="text", content_hash=text)
    chunk = Chunk(position=0, text=text, start=0, end=len(text))
    await store.upsert(
        document, [chunk], EAST[None], principal=principal, collection=COLLECTION, embedding_model="four"
    )
    return (await store.collection(COLLECTION, principal=principal)).epoch


@pytest.fixture
async def store(migrated: str) -> AsyncIterator[PgVectorStore]:
    async with open_pgvector(migrated, StoreConfig(acquire_timeout_s=2, statement_timeout_s=5)) as opened:
        yield opened


@pytest.fixture(params=["memory", "postgres"])
def answers(request: pytest.FixtureRequest, store: PgVectorStore) -> AnswerStore:
    return MemoryAnswers(CONFIG) if request.param == "memory" else PgAnswers(store.connections, CONFIG)


@pytest.fixture
async def scope(store: PgVectorStore, principal: Principal) -> CacheScope:
    epoch = await change(store, principal, "first")
    return CacheScope(tenant=principal.tenant, collection=COLLECTION, epoch=epoch, model="four", parameters={"k": 1})


async def test_nothing_is_found_where_nothing_was_kept(answers: AnswerStore, scope: CacheScope) -> None:
    assert list(await answers.nearest(scope, EAST, at_least=-1, limit=5)) == []
    assert await answers.answer(scope, b"no such question") is None
    assert await answers.usage(scope.tenant) == AnswerUsage()
    assert await answers.clear(scope.tenant) == 0


async def test_the_nearest_come_first_and_none_below_the_threshold(answers: AnswerStore, scope: CacheScope) -> None:
    for question, vector in (("far", WEST), ("near", between(0.9)), ("nearest", EAST)):
        await answers.keep(scope, question, vector, question.encode())
    found = await answers.nearest(scope, EAST, at_least=0.5, limit=5)
    assert [each.question for each in found] == ["nearest", "near"]
    assert [each.similarity for each in found] == pytest.approx([1.0, 0.9], abs=1e-6)
    assert [each.question for each in await answers.nearest(scope, EAST, at_least=-1, limit=1)] == ["nearest"]
    answer = await answers.answer(scope, found[1].digest)
    assert answer is not None
    assert answer.packed == b"near"
    assert 0 <= answer.age_s < 60


@pytest.mark.parametrize(
    "other",
    [
        {"tenant": "another"},
        {"collection": "another"},
        {"epoch": 99},
        {"model": "another"},
        {"parameters": {"k": 2}},
    ],
)
async def test_whatever_else_the_answer_depends_on_keeps_scopes_apart(
    answers: AnswerStore, scope: CacheScope, other: dict[str, object]
) -> None:
    await answers.keep(scope, "q", EAST, b"secret")
    (found,) = await answers.nearest(scope, EAST, at_least=0, limit=5)
    elsewhere = replace(scope, **other)  # type: ignore[arg-type]  # the fields differ in type
    assert list(await answers.nearest(elsewhere, EAST, at_least=-1, limit=5)) == []
    assert await answers.answer(elsewhere, found.digest) is None


async def test_the_same_question_again_replaces_its_answer(answers: AnswerStore, scope: CacheScope) -> None:
    for packed in (b"old", b"new"):
        assert await answers.keep(scope, "q", EAST, packed) == 0
    (found,) = await answers.nearest(scope, EAST, at_least=0, limit=5)
    answer = await answers.answer(scope, found.digest)
    assert answer is not None
    assert answer.packed == b"new"
    assert await answers.usage(scope.tenant) == AnswerUsage(1, 3)


async def test_a_tenant_keeps_its_newest_answers_within_its_bound(answers: AnswerStore, scope: CacheScope) -> None:
    dropped = [await answers.keep(scope, str(n), EAST, b"x") for n in range(5)]
    assert dropped == [0, 0, 0, 1, 1]
    found = await answers.nearest(scope, EAST, at_least=0, limit=10)
    assert sorted(each.question for each in found) == ["2", "3", "4"]


async def test_one_tenants_answers_do_not_count_for_anothers_bound(
    answers: AnswerStore, scope: CacheScope, store: PgVectorStore
) -> None:
    other = Principal(tenant=f"{scope.tenant}-2")
    theirs = replace(scope, tenant=other.tenant, epoch=await change(store, other, "theirs"))
    for n in range(3):
        await answers.keep(scope, str(n), EAST, b"x")
    assert await answers.keep(theirs, "q", EAST, b"x") == 0
    assert (await answers.usage(scope.tenant)).entries == 3
    assert await answers.clear(other.tenant) == 1
    assert (await answers.usage(scope.tenant)).entries == 3


async def test_writers_at_once_lose_nothing(answers: AnswerStore, scope: CacheScope) -> None:
    await asyncio.gather(*(answers.keep(scope, "q", EAST, str(n).encode()) for n in range(20)))
    assert (await answers.usage(scope.tenant)).entries == 1


@pytest.mark.parametrize("question", ["ünï 🙂 'quoted' \\ {}", "nul \x00 inside", "half \ud800 a pair", "x" * 10_000])
async def test_any_text_can_be_a_question(answers: AnswerStore, scope: CacheScope, question: str) -> None:
    await answers.keep(scope, question, EAST, b"x")
    (found,) = await answers.nearest(scope, EAST, at_least=0, limit=5)
    assert await answers.answer(scope, found.digest) is not None


async def test_clearing_removes_what_the_tenant_has(answers: AnswerStore, scope: CacheScope) -> None:
    for n in range(2):
        await answers.keep(scope, str(n), EAST, b"x")
    assert await answers.clear(scope.tenant) == 2
    assert list(await answers.nearest(scope, EAST, at_least=-1, limit=5)) == []


async def test_an_answer_whose_time_is_over_is_not_found_in_memory() -> None:
    now = [0.0]
    answers = MemoryAnswers(SemanticCacheConfig(ttl_s=10), clock=lambda: now[0])
    await answers.keep(CacheScope(), "q", EAST, b"x")
    now[0] = 9.9
    (found,) = await answers.nearest(CacheScope(), EAST, at_least=0, limit=5)
    now[0] = 10.0
    assert await answers.answer(CacheScope(), found.digest) is None
    assert await answers.nearest(CacheScope(), EAST, at_least=0, limit=5) == []
    assert await answers.usage("") == AnswerUsage()


async def test_an_answer_whose_time_is_over_is_not_found_on_postgres(
    store: PgVectorStore, scope: CacheScope, postgres: str
) -> None:
    answers = PgAnswers(store.connections, CONFIG)
    await answers.keep(scope, "q", EAST, b"x")
    (found,) = await answers.nearest(scope, EAST, at_least=0, limit=5)
    await as_superuser(
        postgres, "UPDATE ragents.semantic_answers SET expires_at = now() WHERE tenant = $1", scope.tenant
    )
    assert await answers.answer(scope, found.digest) is None
    assert await answers.nearest(scope, EAST, at_least=0, limit=5) == []
    assert await answers.usage(scope.tenant) == AnswerUsage()
    await answers.keep(scope, "another", EAST, b"x")
    count = "SELECT count(*) FROM ragents.semantic_answers WHERE tenant = $1"
    assert await as_superuser(postgres, count, scope.tenant) == 1


async def test_a_change_of_the_collection_leaves_no_row_behind(
    store: PgVectorStore, scope: CacheScope, principal: Principal, postgres: str
) -> None:
    answers = PgAnswers(store.connections, CONFIG)
    await answers.keep(scope, "q", EAST, b"x")
    (document,) = await store.documents(principal=principal)
    await store.delete(document.id, principal=principal)
    count = "SELECT count(*) FROM ragents.semantic_answers WHERE tenant = $1"
    assert await as_superuser(postgres, count, scope.tenant) == 0
    # An answer that was under way meanwhile is of the old epoch: it is not kept at all.
    await answers.keep(scope, "q", EAST, b"x")
    assert await as_superuser(postgres, count, scope.tenant) == 0


async def test_rows_of_another_tenant_do_not_exist_for_a_statement_that_forgets_the_tenant(
    store: PgVectorStore, scope: CacheScope
) -> None:
    await PgAnswers(store.connections, CONFIG).keep(scope, "q", EAST, b"x")
    async with store.connections.use() as db, db.transaction():
        await db.execute("SELECT set_config('ragents.tenant', 'somebody-else', true)")
        assert await db.fetchval("SELECT count(*) FROM ragents.semantic_answers") == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.execute("UPDATE ragents.semantic_answers SET tenant = 'x'; TRUNCATE ragents.semantic_answers")


async def test_an_answer_kept_by_one_process_is_found_by_another(store: PgVectorStore, scope: CacheScope) -> None:
    config = SemanticCacheConfig(enabled=True, timeout_s=5, shadow_share=0)
    principal = Principal(tenant=scope.tenant)
    one, two = (
        create_semantic_cache(config, embedder=HashingEmbedder(), connections=store.connections) for _ in range(2)
    )
    alone = create_semantic_cache(config, embedder=HashingEmbedder())
    for cache in (one, two, alone):
        await cache.start()
        assert cache.off_because is None
    answer = RAGResponse("q", confidence=1, answer="Ja: ünï [1].", citations=(Citation(1, "s", "ünï"),))
    question = "How do I reset the main password?"
    assert await one.keep(question, answer, scope=scope, principal=principal, used_tools=False, personal=False)
    asked = "And how do I reset the main password?"
    hit = await two.find(asked, scope=scope, principal=principal)
    assert hit is not None
    assert (hit.response, hit.question) == (answer, question)
    assert await alone.find(asked, scope=scope, principal=principal) is None
    assert (await two.stats(tenant=scope.tenant)).entries == 1


async def as_superuser(dsn: str, statement: str, tenant: str) -> int | None:
    connection = await asyncpg.connect(dsn)
    try:
        value: int | None = await connection.fetchval(statement, tenant)
        return value
    finally:
        await connection.close()


async def test_over_all_tenants_an_admin_counts_and_clears_but_reads_nothing(
    answers: AnswerStore, scope: CacheScope, store: PgVectorStore
) -> None:
    await answers.clear(None)
    other = Principal(tenant=f"{scope.tenant}-other")
    theirs = replace(scope, tenant=other.tenant, epoch=await change(store, other, "text"))
    await answers.keep(scope, "q", EAST, b"four")
    await answers.keep(theirs, "q", EAST, b"fifty")
    assert await answers.usage(None) == AnswerUsage(2, 9)
    age_s = (await answers.usage(None)).age_s
    assert age_s is not None
    assert 0 <= age_s < 30
    assert await answers.usage(scope.tenant) == AnswerUsage(1, 4)
    assert await answers.clear(None) == 2
    assert await answers.usage(None) == AnswerUsage(0, 0)
    assert (await answers.usage(None)).age_s is None
    assert await answers.clear(other.tenant) == 0


async def test_only_the_functions_see_all_tenants(store: PgVectorStore, scope: CacheScope) -> None:
    answers = PgAnswers(store.connections, CONFIG)
    await answers.keep(scope, "q", EAST, b"four")
    async with store.connections.use() as db:
        assert await db.fetchval("SELECT count(*) FROM ragents.semantic_answers") == 0
        assert await db.fetchval("WITH d AS (DELETE FROM ragents.semantic_answers RETURNING 1) TABLE d") is None
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.execute("SET ROLE ragents_search")
    assert await answers.usage(scope.tenant) == AnswerUsage(1, 4)
