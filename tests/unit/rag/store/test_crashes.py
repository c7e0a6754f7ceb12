"""Writers whose connection is cut at any moment: each write is whole or not there, and the next ones go on."""

import asyncio
import uuid
from dataclasses import dataclass

import asyncpg
from hypothesis import given, settings
from hypothesis import strategies as st

from ragents.deployment.app import APP_ROLE
from ragents.errors import NotFound, StoreUnavailable
from ragents.principal import Principal
from ragents.rag.store import SearchQuery, VectorStore
from ragents.rag.store.memory import MemoryVectorStore
from ragents.rag.store.pgvector import PgVectorStore
from ragents.rag.types import Chunk, Document, StoredDocument
from tests.unit.rag.store.test_agreement import (  # noqa: F401  # stores is a fixture
    Put,
    puts,
    recount,
    seen,
    stores,
    unit,
    uris,
)


@dataclass(frozen=True)
class Cut:
    """A write (of `put`, or a delete of `uri`) whose connection is cut after so many milliseconds."""

    put: Put | None
    uri: str
    after_ms: float


steps = st.lists(st.builds(Cut, st.none() | puts, uris, st.floats(0, 12) | st.just(1e3)), min_size=1, max_size=8)


async def write(store: VectorStore, step: Cut, content_hash: str, principal: Principal) -> None:
    if step.put is None:
        for document in await store.documents(principal=principal, uri=step.uri):
            await store.delete(document.id, principal=principal)
        return
    await store.upsert(
        Document(step.put.uri, "", "md", content_hash, metadata={"year": step.put.year}),
        [Chunk(n, text, 0, len(text)) for n, text in enumerate(step.put.texts)],
        unit(step.put.seed, len(step.put.texts)),
        principal=principal,
        collection="c",
        embedding_model="m",
    )


async def cut_after(milliseconds: float, admin: asyncpg.Connection, writing: "asyncio.Task[None]") -> None:
    await asyncio.wait({writing}, timeout=milliseconds / 1000)
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", APP_ROLE)
    await asyncio.gather(writing, return_exceptions=True)


async def after_the_cut(store: VectorStore, principal: Principal, uri: str) -> list[StoredDocument]:
    """The cut is news to each idle connection of the pool once."""
    for _ in range(20):
        try:
            return await store.documents(principal=principal, uri=uri)
        except StoreUnavailable:
            await asyncio.sleep(0)
    return await store.documents(principal=principal, uri=uri)


@settings(max_examples=40)
@given(steps=steps)
async def test_a_write_that_is_cut_off_is_whole_or_not_there(
    stores: tuple[PgVectorStore, asyncpg.Connection],  # noqa: F811
    steps: list[Cut],
) -> None:
    store, admin = stores
    oracle, principal = MemoryVectorStore(), Principal(tenant=f"tenant-{uuid.uuid4()}")
    for step in steps:
        content_hash = str(uuid.uuid4())
        writing = asyncio.create_task(write(store, step, content_hash, principal))
        await cut_after(step.after_ms, admin, writing)
        error = writing.exception()
        assert error is None or isinstance(error, StoreUnavailable)
        uri = step.put.uri if step.put else step.uri
        there = {each.content_hash for each in await after_the_cut(store, principal, uri)}
        done = (content_hash in there) if step.put else not there
        assert done or error is not None, "what was reported as stored is stored"
        if done:
            await write(oracle, step, content_hash, principal)
    await agree(store, oracle, principal)
    if await store.collections(principal=principal):
        await recount(admin, principal.tenant)


async def agree(store: VectorStore, oracle: VectorStore, principal: Principal) -> None:
    query = SearchQuery("lion zebra walrus", unit(1, 1)[0], "c", top_k=50)
    try:
        expected = await oracle.search(query, principal=principal)
    except NotFound:
        expected = []
    try:
        found = await store.search(query, principal=principal)
    except NotFound:
        found = []
    assert sorted(key[:2] for key in seen(found)) == sorted(key[:2] for key in seen(expected))
