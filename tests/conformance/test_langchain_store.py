"""A store of LangChain's as the index: what it answers, what happens when it loses something, where a writer dies."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragents.errors import Conflict, StoreUnavailable
from ragents.principal import Principal
from ragents.rag.store import SearchQuery, StoreConfig, VectorStore, open_store
from ragents.rag.store.langchain import LangChainVectorStore
from ragents.rag.store.langchain.probing import Probing
from ragents.rag.store.langchain.statements import scope_of
from ragents.rag.store.pgvector import PgVectorStore
from ragents.rag.types import Chunk, Document
from tests.stores import LANGCHAIN, settings_of

ON_DISK = [each for each in LANGCHAIN if getattr(each, "values", [""])[0] in ("chroma", "qdrant", "milvus")]
DIMENSION = 24
WORDS = "lion zebra giraffe hippo heron stork ibis crane otter badger weasel stoat".split()  # noqa: SIM905


@pytest.fixture(params=LANGCHAIN)
async def store(
    request: pytest.FixtureRequest, migrated: str, postgres: str, tmp_path: Path
) -> AsyncIterator[LangChainVectorStore]:
    async with open_store(settings_of(request.param, tmp_path), dsn=migrated, migrate_dsn=postgres) as opened:
        assert isinstance(opened, LangChainVectorStore)
        yield opened


@pytest.fixture
async def plain(migrated: str, postgres: str, tmp_path: Path) -> AsyncIterator[LangChainVectorStore]:
    """LangChain's own store, in memory."""
    settings = settings_of("langchain in memory", tmp_path)
    async with open_store(settings, dsn=migrated, migrate_dsn=postgres) as opened:
        assert isinstance(opened, LangChainVectorStore)
        yield opened


@pytest.fixture
def only_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that goes to Postgres for the nearest vectors fails."""

    async def refuse(*args: object, **more: object) -> None:
        raise AssertionError("searched in Postgres")

    monkeypatch.setattr(PgVectorStore, "search", refuse)


@pytest.fixture
def exact_searches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions that Postgres was asked alone."""
    seen: list[str] = []
    inner = PgVectorStore.search

    async def search(self: PgVectorStore, query: SearchQuery, *, principal: Principal) -> Any:
        seen.append(query.text)
        return await inner(self, query, principal=principal)

    monkeypatch.setattr(PgVectorStore, "search", search)
    return seen


def vectors(count: int, seed: int = 0) -> Any:
    made = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


async def put(store: VectorStore, uri: str, count: int, principal: Principal, *, seed: int = 0, **metadata: Any) -> Any:
    texts = [f"{WORDS[(seed + n) % 12]} {WORDS[(seed * n) % 12]} of {uri}" for n in range(count)]
    chunks = [Chunk(n, text, 0, len(text)) for n, text in enumerate(texts)]
    document = Document(uri, uri, "md", str(uuid.uuid4()), metadata=metadata)
    return await store.upsert(
        document, chunks, vectors(count, seed), principal=principal, collection="c", embedding_model="m"
    )


def question(seed: int = 7, **fields: Any) -> SearchQuery:
    return replace(SearchQuery("lion or otter", vectors(1, seed)[0], "c"), **fields)


async def held(store: LangChainVectorStore, principal: Principal) -> set[str]:
    """What the other store has of the collection."""
    scope = scope_of(principal.tenant, "c")
    return {str(each) for each in await store.index.search(vectors(1)[0], 1_000, scope=scope)}


async def live(store: VectorStore, principal: Principal) -> set[str]:
    found = set()
    for document in await store.documents(principal=principal):
        excerpt = await store.read_document(document.id, principal=principal, limit=1_000)
        found |= {source.id for source in excerpt.sources}
    return found


@pytest.mark.usefixtures("only_the_index")
@pytest.mark.parametrize("mode", ["dense", "hybrid"])
async def test_the_nearest_come_from_the_other_store(
    store: LangChainVectorStore, principal: Principal, mode: Any
) -> None:
    for number in range(3):
        await put(store, f"{number}.md", 20, principal, seed=number)
    found = await store.search(question(mode=mode, top_k=5), principal=principal)
    assert len(found) == 5


@pytest.mark.parametrize("mode", ["dense", "hybrid", "lexical"])
@pytest.mark.parametrize("more", [{}, {"max_per_document": 1}, {"mmr_lambda": 0.5}, {"filters": {"even": True}}])
async def test_the_answer_is_that_of_postgres(
    store: LangChainVectorStore, principal: Principal, migrated: str, mode: Any, more: dict[str, Any]
) -> None:
    for number in range(12):
        await put(store, f"{number}.md", 8, principal, seed=number, even=number % 2 == 0)
    async with open_store(StoreConfig(), dsn=migrated) as exact:
        for seed in range(5):
            asked = question(seed=seed, mode=mode, top_k=5, **more)
            found = await store.search(asked, principal=principal)
            expected = await exact.search(asked, principal=principal)
            assert [each.id for each in found] == [each.id for each in expected]
            assert [each.similarity for each in found] == pytest.approx([each.similarity for each in expected])
            assert [each.score for each in found] == pytest.approx([each.score for each in expected], abs=1e-5)


@pytest.mark.usefixtures("only_the_index")
async def test_a_large_neighbour_takes_no_place_of_a_small_tenant(
    store: LangChainVectorStore, principal: Principal
) -> None:
    neighbour = Principal(tenant=f"{principal.tenant}-large")
    for number in range(4):
        await put(store, f"{number}.md", 100, neighbour, seed=3)
    mine = await put(store, "mine.md", 6, principal, seed=9)
    found = await store.search(question(mode="dense", top_k=6), principal=principal)
    assert {each.document_id for each in found} == {mine.document_id}


@pytest.mark.parametrize("name", ON_DISK)
async def test_what_was_stored_is_found_after_a_restart(
    name: str, migrated: str, postgres: str, principal: Principal, tmp_path: Path, exact_searches: list[str]
) -> None:
    settings = settings_of(name, tmp_path)
    async with open_store(settings, dsn=migrated, migrate_dsn=postgres) as first:
        await put(first, "a.md", 10, principal)
        before = await first.search(question(), principal=principal)
    await asyncio.sleep(0)
    async with open_store(settings, dsn=migrated) as second:
        assert await second.search(question(), principal=principal) == before
    assert exact_searches == []


async def test_a_store_that_does_not_hold_the_collection_is_filled_by_the_next_ingest(
    store: LangChainVectorStore, migrated: str, principal: Principal, exact_searches: list[str]
) -> None:
    async with open_store(StoreConfig(), dsn=migrated) as other:
        await put(other, "a.md", 30, principal, seed=1)
        await put(other, "b.md", 30, principal, seed=2)
        expected = await other.search(question(), principal=principal)
    exact_searches.clear()
    assert await store.search(question(text="before"), principal=principal)
    async with store.bulk(principal=principal, collection="c"):
        pass
    assert await store.search(question(), principal=principal) == [
        replace(each, score=pytest.approx(each.score, abs=1e-5), similarity=pytest.approx(each.similarity))
        for each in expected
    ]
    assert exact_searches == ["before"]
    assert await held(store, principal) == await live(store, principal)


async def test_a_new_collection_is_filled_in_large_calls(
    plain: LangChainVectorStore, principal: Principal, monkeypatch: pytest.MonkeyPatch, exact_searches: list[str]
) -> None:
    calls: list[int] = []
    inner = plain.index.add

    async def add(ids: Any, *args: Any, **more: Any) -> None:
        calls.append(len(ids))
        await inner(ids, *args, **more)

    monkeypatch.setattr(plain.index, "add", add)
    async with plain.bulk(principal=principal, collection="c"):
        for number in range(5):
            await put(plain, f"{number}.md", 4, principal, seed=number)
        assert len(await plain.search(question(text="meanwhile"), principal=principal)) == 5
    await put(plain, "later.md", 3, principal, seed=6)
    assert calls == [20, 3]
    assert len(await plain.search(question(text="afterwards"), principal=principal)) == 5
    assert exact_searches == ["meanwhile"]


async def test_a_store_that_was_emptied_is_noticed_and_filled_again(
    store: LangChainVectorStore, principal: Principal, exact_searches: list[str]
) -> None:
    await put(store, "a.md", 10, principal)
    await store.index.delete([*await live(store, principal)], dimension=DIMENSION)
    assert len(await store.search(question(text="empty"), principal=principal)) == 5
    async with store.bulk(principal=principal, collection="c"):
        pass
    assert len(await store.search(question(text="filled"), principal=principal)) == 5
    assert exact_searches == ["empty"]


async def test_a_store_that_was_emptied_and_written_to_is_noticed_at_the_next_look(
    store: LangChainVectorStore, principal: Principal, exact_searches: list[str]
) -> None:
    store.probing = Probing(every_s=0, settled_s=0)
    for number in range(3):
        await put(store, f"{number}.md", 30, principal, seed=number)
    assert len(await store.search(question(text="whole"), principal=principal)) == 5
    await store.index.delete([*await live(store, principal)], dimension=DIMENSION)
    await put(store, "new.md", 30, principal, seed=8)
    store.probing.samples = 4
    found = await store.search(question(text="lost"), principal=principal)
    async with store.bulk(principal=principal, collection="c"):
        pass
    again = await store.search(question(text="filled"), principal=principal)
    assert [each.id for each in again] == [each.id for each in found]
    assert exact_searches == ["lost"]


def test_a_look_is_due_at_first_and_then_every_so_often() -> None:
    probing = Probing(every_s=3600)
    assert [probing.due(scope) for scope in ("a", "b", "a", "b")] == [True, True, False, False]
    assert Probing(every_s=0).due("a")


async def test_what_the_postgres_backend_changes_is_seen_at_once(
    plain: LangChainVectorStore, migrated: str, principal: Principal
) -> None:
    await put(plain, "a.md", 3, principal)
    async with open_store(StoreConfig(), dsn=migrated) as other:
        added = await put(other, "b.md", 3, principal, seed=7)
    found = await plain.search(question(mode="dense", top_k=1), principal=principal)
    assert found[0].document_id == added.document_id


STEPS = ["pend", "add", "settle", "record", "delete", "forget"]


class Crash(BaseException):
    """A process that ends at this place."""


def crash_at(store: LangChainVectorStore, step: str, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends before or after one step of a write; its transaction is lost where it had not committed."""
    if step in ("add", "delete"):
        inner = getattr(store.index, step)

        async def ending(*args: Any, **more: Any) -> None:
            if when == "halfway":
                await inner(args[0][:2], *[each[:2] for each in args[1:]], **more)
            if when == "after":
                await inner(*args, **more)
            raise Crash

        monkeypatch.setattr(store.index, step, ending)
        return
    entered = 0
    number = {"pend": 1, "settle": 2, "record": 2, "delete": 3, "forget": 4}[step]
    transaction = store._as

    def counting(tenant: str, **more: Any) -> Any:
        nonlocal entered
        entered += 1
        return dying(transaction(tenant, **more)) if entered == number else transaction(tenant, **more)

    def dying(inner: Any) -> Any:
        class Dying:
            async def __aenter__(self) -> Any:
                if when == "before":
                    raise Crash
                return await inner.__aenter__()

            async def __aexit__(self, *error: Any) -> None:
                if when == "halfway":
                    await inner.__aexit__(Crash, Crash(), None)
                else:
                    await inner.__aexit__(None, None, None)
                raise Crash

        return Dying()

    monkeypatch.setattr(store, "_as", counting)


@pytest.mark.parametrize("when", ["before", "halfway", "after"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("change", ["replace", "add", "delete"])
async def test_a_writer_that_dies_anywhere_leaves_the_old_or_the_new(
    store: LangChainVectorStore,
    principal: Principal,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    step: str,
    when: str,
) -> None:
    first = await put(store, "a.md", 5, principal, seed=1)
    before = await live(store, principal)

    with monkeypatch.context() as patch:
        crash_at(store, step, when, patch)
        try:
            if change == "delete":
                await store.delete(first.document_id, principal=principal)
            else:
                await put(store, "a.md" if change == "replace" else "b.md", 6, principal, seed=2)
        except Crash:
            pass

    now = await live(store, principal)
    found = {each.id for each in await store.search(question(mode="dense", top_k=50), principal=principal)}
    assert found == now
    if change == "delete":
        assert now in (before, set())
    else:
        assert (now == before) or len(now - before) == 6
    await expire(store, principal)
    await put(store, "later.md", 1, principal)
    assert await held(store, principal) == await live(store, principal)


async def expire(store: LangChainVectorStore, principal: Principal) -> None:
    """As if the writers that died had been given up."""
    async with store._as(principal.tenant) as db:
        await db.execute("UPDATE ragents_vectors.pending SET until = now() - interval '1 second'")


async def test_a_writer_whose_vectors_were_swept_stores_nothing(
    plain: LangChainVectorStore, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(plain, "a.md", 3, principal)
    inner = plain.index.add

    async def slow(*args: Any, **more: Any) -> None:
        await inner(*args, **more)
        monkeypatch.setattr(plain.index, "add", inner)
        await expire(plain, principal)
        await put(plain, "faster.md", 2, principal, seed=4)

    monkeypatch.setattr(plain.index, "add", slow)
    with pytest.raises(StoreUnavailable, match="nothing was stored"):
        await put(plain, "slow.md", 4, principal, seed=5)
    assert {each.uri for each in await plain.documents(principal=principal)} == {"a.md", "faster.md"}
    assert await held(plain, principal) == await live(plain, principal)


async def test_a_store_that_hangs_or_fails_is_unavailable_in_time(
    plain: LangChainVectorStore, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(plain, "a.md", 3, principal)
    plain.index._timeout_s = 1
    go_on = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(*args: Any) -> None:
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)

    with monkeypatch.context() as patch:
        patch.setattr(plain.index, "_search", hang)
        async with asyncio.timeout(8):
            with pytest.raises(StoreUnavailable, match=r"no answer within 1 s"):
                await plain.search(question(), principal=principal)
            assert await plain.search(question(mode="lexical"), principal=principal)
    go_on.set()

    def fail(*args: Any) -> None:
        raise ConnectionError("refused by 10.0.0.1")

    await plain.ping()
    monkeypatch.setattr(plain.index, "_search", fail)
    with pytest.raises(StoreUnavailable, match="ConnectionError"):
        await plain.ping()
    monkeypatch.setattr(plain.index, "_add", fail)
    with pytest.raises(StoreUnavailable, match="ConnectionError") as error:
        await put(plain, "b.md", 3, principal)
    assert "10.0.0.1" not in str(error.value)
    assert [each.uri for each in await plain.documents(principal=principal)] == ["a.md"]


@pytest.mark.parametrize("number", [6.199773809814911e16, 1e300, -1e22, 2.5, 5e-324, 2.0**53 + 2, 3.0, 7])
async def test_a_number_is_found_by_itself(plain: LangChainVectorStore, principal: Principal, number: float) -> None:
    await put(plain, "a.md", 1, principal, number=number)
    await put(plain, "b.md", 1, principal, number=1)
    for filters in ({"number": number}, {"number": {"in": [number]}}, {"number": {"gte": number, "lte": number}}):
        found = await plain.search(question(filters=filters), principal=principal)
        assert [each.uri for each in found] == ["a.md"], filters


async def test_two_dimensions_in_one_store_are_a_conflict(plain: LangChainVectorStore, principal: Principal) -> None:
    await put(plain, "a.md", 3, principal)
    with pytest.raises(Conflict, match=r"24 dimensions, these have 3"):
        await plain.upsert(
            Document("b.md", "b", "md", "h"),
            [Chunk(0, "text", 0, 4)],
            np.eye(3, dtype=np.float32)[:1],
            principal=principal,
            collection="other",
            embedding_model="m",
        )
    assert [each.name for each in await plain.collections(principal=principal)] == ["c"]
