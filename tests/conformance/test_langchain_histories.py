"""Whatever is written, deleted, cut off, emptied or done by another backend: what is found is what is stored."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragents.principal import Principal
from ragents.rag.store import StoreConfig, VectorStore, open_store
from ragents.rag.store.langchain import LangChainVectorStore
from ragents.rag.store.langchain.probing import Probing
from tests.conformance.test_langchain_store import DIMENSION, STEPS, Crash, crash_at, expire, held, live, put, question
from tests.stores import settings_of

DOCUMENTS = st.sampled_from(["a.md", "b.md", "c.md"])
STEP = st.one_of(
    st.tuples(st.just("put"), DOCUMENTS, st.integers(0, 6)),
    st.tuples(st.just("delete"), DOCUMENTS),
    st.tuples(st.just("cut off"), DOCUMENTS, st.sampled_from(STEPS), st.sampled_from(["before", "halfway", "after"])),
    st.tuples(st.just("cut off delete"), DOCUMENTS, st.sampled_from(STEPS), st.sampled_from(["before", "after"])),
    st.tuples(st.just("by postgres"), DOCUMENTS, st.integers(0, 6)),
    st.tuples(st.just("empty")),
    st.tuples(st.just("give up")),
    st.tuples(st.just("ingest")),
)


@pytest.fixture(scope="module")
async def stores(
    migrated: str, postgres: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[LangChainVectorStore, VectorStore]]:
    place: Path = tmp_path_factory.mktemp("index")
    config = settings_of("langchain in memory", place)
    async with (
        open_store(config, dsn=migrated, migrate_dsn=postgres) as store,
        open_store(StoreConfig(), dsn=migrated) as record,
    ):
        assert isinstance(store, LangChainVectorStore)
        store.probing = Probing(samples=100, every_s=0, settled_s=0)
        yield store, record


@settings(max_examples=25)
@given(history=st.lists(STEP, min_size=1, max_size=10), seed=st.integers(0, 99))
async def test_what_is_found_is_what_is_stored(
    stores: tuple[LangChainVectorStore, VectorStore], history: list[tuple[Any, ...]], seed: int
) -> None:
    store, record = stores
    principal = Principal(tenant=f"history-{uuid.uuid4()}")
    await put(store, "first.md", 3, principal, seed=seed)
    for number, (kind, *details) in enumerate(history):
        before = await live(store, principal)
        await happen(store, record, principal, kind, details, seed + number)
        stored = await live(store, principal)
        found = await store.search(question(seed=seed, mode="dense", top_k=50), principal=principal)
        assert {each.id for each in found} == stored
        nearest = question(seed=seed + 1, mode="dense", top_k=2)
        found, exact = [await each.search(nearest, principal=principal) for each in stores]
        assert [each.id for each in found] == [each.id for each in exact]
        if kind in ("empty", "give up", "ingest"):
            assert stored == before
    async with store.bulk(principal=principal, collection="c"):
        pass
    await expire(store, principal)
    await put(store, "last.md", 1, principal)
    left_behind = await held(store, principal) - await live(store, principal)
    assert await live(store, principal) <= await held(store, principal)
    # What the other backend replaces it does not note for removal; a search never sees it.
    assert not left_behind or "by postgres" in {kind for kind, *_ in history}


async def happen(
    store: LangChainVectorStore, record: VectorStore, principal: Principal, kind: str, details: list[Any], seed: int
) -> None:
    document = {each.uri: each.id for each in await store.documents(principal=principal)}.get((details or [""])[0])
    match kind:
        case "put":
            await put(store, details[0], details[1], principal, seed=seed)
        case "by postgres":
            await put(record, details[0], details[1], principal, seed=seed)
        case "delete" if document is not None:
            await store.delete(document, principal=principal)
        case "cut off" | "cut off delete":
            with pytest.MonkeyPatch.context() as patch:
                crash_at(store, details[1], details[2], patch)
                try:
                    if kind == "cut off":
                        await put(store, details[0], 4, principal, seed=seed)
                    elif document is not None:
                        await store.delete(document, principal=principal)
                except Crash:
                    pass
        case "empty":
            await store.index.delete([*await held(store, principal)], dimension=DIMENSION)
        case "give up":
            await expire(store, principal)
        case "ingest":
            async with store.bulk(principal=principal, collection="c"):
                pass
