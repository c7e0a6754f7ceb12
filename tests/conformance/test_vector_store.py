"""What every VectorStore does, over every backend."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from ragents.embeddings.hashing import HashingEmbedder
from ragents.errors import Conflict, InputError, NotFound
from ragents.principal import Principal
from ragents.rag.store import SearchQuery, Upserted, VectorStore
from ragents.rag.types import Chunk, Document, Source
from tests.stores import LANGCHAIN, open_backend

EMBEDDER = HashingEmbedder()
BACKENDS = ["memory", "postgres", *LANGCHAIN]
STRANGE = [
    'it\'s a "quote"',
    "a & b | !c <-> (d:*",
    "back\\slash 'x' \\'",
    "نص عربي من اليمين إلى اليسار",
    "emoji 🙂🙃 and NUL \0 inside",
    "lone \ud800 surrogate",
    "%s $1 {0} ; DROP TABLE documents; --",
    "word " * 10_000,
]


@pytest.fixture(params=BACKENDS)
async def store(request: pytest.FixtureRequest, migrated: str, postgres: str) -> AsyncIterator[VectorStore]:
    async with open_backend(request.param, dsn=migrated, migrate_dsn=postgres) as opened:
        yield opened


async def put(
    store: VectorStore,
    uri: str,
    texts: Sequence[str],
    *,
    principal: Principal,
    collection: str = "default",
    content_hash: str | None = None,
    metadata: dict[str, str | int | float | bool | None] | None = None,
    model: str = EMBEDDER.model,
) -> Upserted:
    chunks = [Chunk(n, text, 0, len(text), page=n + 1, headings=("Part", f"{n}")) for n, text in enumerate(texts)]
    document = Document(uri, f"title of {uri}", "md", content_hash or str(uuid.uuid4()), 10, metadata or {})
    return await store.upsert(
        document,
        chunks,
        await EMBEDDER.embed_documents([text[:500] for text in texts]),
        principal=principal,
        collection=collection,
        embedding_model=model,
    )


async def find(store: VectorStore, text: str, *, principal: Principal, **fields: object) -> list[Source]:
    query = SearchQuery(text, await EMBEDDER.embed_query(text[:500]), "default")
    return await store.search(replace(query, **fields), principal=principal)  # type: ignore[arg-type]


async def test_searching_an_unknown_collection_is_not_found(store: VectorStore, principal: Principal) -> None:
    with pytest.raises(NotFound, match="'default'"):
        await find(store, "anything", principal=principal)
    with pytest.raises(NotFound):
        await store.collection("default", principal=principal)


@pytest.mark.parametrize("document_id", [str(uuid.uuid4()), "not a uuid", "", "'; --"])
async def test_an_unknown_or_malformed_document_id_is_not_found(
    store: VectorStore, principal: Principal, document_id: str
) -> None:
    with pytest.raises(NotFound):
        await store.document(document_id, principal=principal)
    with pytest.raises(NotFound):
        await store.delete(document_id, principal=principal)


async def test_a_malformed_cursor_is_an_input_error(store: VectorStore, principal: Principal) -> None:
    with pytest.raises(InputError, match="after"):
        await store.documents(principal=principal, after="nonsense")


async def test_another_model_is_a_conflict_and_changes_nothing(store: VectorStore, principal: Principal) -> None:
    await put(store, "a.md", ["first text"], principal=principal)
    with pytest.raises(Conflict, match="another collection"):
        await put(store, "b.md", ["second text"], principal=principal, model="another")
    assert (await store.collection("default", principal=principal)).documents == 1


async def test_a_query_of_another_dimension_is_a_conflict(store: VectorStore, principal: Principal) -> None:
    await put(store, "a.md", ["first text"], principal=principal)
    query = SearchQuery("x", np.ones(3, np.float32), "default")
    with pytest.raises(Conflict, match="dimension"):
        await store.search(query, principal=principal)


@pytest.mark.parametrize(
    ("uri", "collection"), [("u" * 3_000, "default"), ("a.md", "c" * 300), ("", "x"), ("a.md", "")]
)
async def test_names_that_no_index_could_hold_are_input_errors(
    store: VectorStore, principal: Principal, uri: str, collection: str
) -> None:
    with pytest.raises(InputError, match="bytes"):
        await put(store, uri, ["text"], principal=principal, collection=collection)
    assert await store.count(principal=principal) == 0


async def test_an_equal_hash_changes_nothing_unless_it_is_forced(store: VectorStore, principal: Principal) -> None:
    outcomes = []
    for text, force in (("first text", False), ("second text", False), ("third text", True)):
        stored = await store.upsert(
            Document("a.md", "a", "md", "one hash"),
            [Chunk(0, text, 0, len(text))],
            await EMBEDDER.embed_documents([text]),
            principal=principal,
            collection="default",
            embedding_model=EMBEDDER.model,
            force=force,
        )
        outcomes.append((stored.outcome, stored.version))
    assert outcomes == [("created", 1), ("unchanged", 1), ("replaced", 2)]
    assert [source.text for source in await find(store, "text", principal=principal)] == ["third text"]


async def test_what_was_stored_is_found_with_all_its_fields(store: VectorStore, principal: Principal) -> None:
    stored = await put(store, "a.md", ["the cat sleeps", "the dog barks"], principal=principal, metadata={"year": 2024})
    (best, _) = await find(store, "cat sleeps", principal=principal)
    assert (best.text, best.uri, best.title) == ("the cat sleeps", "a.md", "title of a.md")
    assert (best.page, best.headings, best.metadata) == (1, ("Part", "0"), {"year": 2024})
    assert best.document_id == stored.document_id
    assert best.score == pytest.approx(1.0)
    assert best.similarity is not None
    assert 0 < best.similarity <= 1.0001


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
async def test_the_best_comes_first_in_every_mode(store: VectorStore, principal: Principal, mode: str) -> None:
    for n in range(5):
        await put(store, f"{n}.md", [f"filler text number {n}"], principal=principal)
    await put(store, "right.md", ["zebras graze quietly here"], principal=principal)
    found = await find(store, "zebras graze", principal=principal, mode=mode)
    assert found[0].uri == "right.md"
    assert [s.score for s in found] == sorted((s.score for s in found), reverse=True)


async def test_lexical_search_needs_no_vector_and_finds_the_rare_word(store: VectorStore, principal: Principal) -> None:
    await put(store, "a.md", ["common common rare", "common words", "more common"], principal=principal)
    query = SearchQuery("the rare common", None, "default", mode="lexical")
    found = await store.search(query, principal=principal)
    assert found[0].text == "common common rare"


async def test_top_k_bounds_the_result(store: VectorStore, principal: Principal) -> None:
    await put(store, "a.md", [f"text number {n}" for n in range(20)], principal=principal)
    assert len(await find(store, "text number", principal=principal, top_k=7)) == 7


async def test_a_question_without_words_still_searches_by_vector(store: VectorStore, principal: Principal) -> None:
    await put(store, "a.md", ["some text"], principal=principal)
    assert len(await find(store, "?!", principal=principal)) == 1


async def test_a_collection_without_documents_gives_nothing(store: VectorStore, principal: Principal) -> None:
    stored = await put(store, "a.md", ["some text"], principal=principal)
    await store.delete(stored.document_id, principal=principal)
    assert await find(store, "some text", principal=principal) == []


async def test_a_document_without_chunks_can_be_stored_and_deleted(store: VectorStore, principal: Principal) -> None:
    stored = await put(store, "empty.md", [], principal=principal)
    assert (await store.document(stored.document_id, principal=principal)).chunks == 0
    await store.delete(stored.document_id, principal=principal)


async def test_the_same_content_changes_nothing(store: VectorStore, principal: Principal) -> None:
    first = await put(store, "a.md", ["text"], principal=principal, content_hash="h")
    epoch = (await store.collection("default", principal=principal)).epoch
    second = await put(store, "a.md", ["text"], principal=principal, content_hash="h")
    assert (first.outcome, second.outcome, second.document_id) == ("created", "unchanged", first.document_id)
    assert (await store.collection("default", principal=principal)).epoch == epoch


async def test_new_content_replaces_the_old_under_the_same_id(store: VectorStore, principal: Principal) -> None:
    first = await put(store, "a.md", ["old zebra", "old lion"], principal=principal)
    second = await put(store, "a.md", ["new giraffe"], principal=principal)
    assert (second.outcome, second.version, second.document_id) == ("replaced", 2, first.document_id)
    assert [s.text for s in await find(store, "zebra lion giraffe", principal=principal)] == ["new giraffe"]
    assert await store.count(principal=principal) == 1


async def test_every_change_moves_the_epoch_on(store: VectorStore, principal: Principal) -> None:
    epochs = []
    stored = await put(store, "a.md", ["one"], principal=principal)
    epochs.append((await store.collection("default", principal=principal)).epoch)
    await put(store, "a.md", ["two"], principal=principal)
    epochs.append((await store.collection("default", principal=principal)).epoch)
    await store.delete(stored.document_id, principal=principal)
    epochs.append((await store.collection("default", principal=principal)).epoch)
    assert epochs == sorted(set(epochs))
    assert len(epochs) == 3


async def test_a_delete_leaves_nothing_and_returns_what_was(store: VectorStore, principal: Principal) -> None:
    stored = await put(store, "a.md", ["zebra"], principal=principal)
    await put(store, "b.md", ["lion"], principal=principal)
    removed = await store.delete(stored.document_id, principal=principal)
    assert (removed.uri, removed.chunks) == ("a.md", 1)
    assert [s.uri for s in await find(store, "zebra", principal=principal)] == ["b.md"]
    assert await store.count(principal=principal) == 1
    with pytest.raises(NotFound):
        await store.delete(stored.document_id, principal=principal)


async def test_filters_keep_only_what_matches_all_of_them(store: VectorStore, principal: Principal) -> None:
    await put(store, "a.md", ["text"], principal=principal, metadata={"year": 2024, "draft": True, "lang": "en"})
    await put(store, "b.md", ["text"], principal=principal, metadata={"year": 2025, "draft": True, "lang": "en"})
    for filters, uris in [
        ({"year": 2024}, ["a.md"]),
        ({"year": 2024.0}, ["a.md"]),
        ({"year": "2024"}, []),
        ({"draft": True, "year": 2025}, ["b.md"]),
        ({"draft": 1}, []),
        ({"missing": "x"}, []),
        ({"lang": "en'; DROP"}, []),
    ]:
        found = await find(store, "text", principal=principal, filters=filters)
        assert [s.uri for s in found] == uris, filters


@pytest.mark.parametrize("text", STRANGE)
async def test_strange_texts_are_stored_and_asked(store: VectorStore, principal: Principal, text: str) -> None:
    stored = await put(store, text[:100], [text], principal=principal, collection="default", metadata={"k": text[:50]})
    async with asyncio.timeout(10):
        found = await find(store, text, principal=principal)
    assert found[0].document_id == stored.document_id
    again = await put(store, text[:100], [text], principal=principal)
    assert again.outcome == "replaced"


async def test_tenants_never_see_each_other(store: VectorStore, principal: Principal) -> None:
    other = Principal(tenant=f"{principal.tenant}-other")
    mine = await put(store, "a.md", ["secret zebra"], principal=principal)
    theirs = await put(store, "a.md", ["their zebra"], principal=other)
    assert mine.document_id != theirs.document_id
    assert [s.text for s in await find(store, "zebra", principal=principal)] == ["secret zebra"]
    assert [d.id for d in await store.documents(principal=other)] == [theirs.document_id]
    assert await store.content_hashes(principal=Principal("nobody"), collection="default") == {}
    assert await store.collections(principal=Principal("nobody")) == []
    assert await store.count(principal=other) == 1
    for document_id in (mine.document_id, str(uuid.uuid4())):
        with pytest.raises(NotFound) as error:
            await store.document(document_id, principal=other)
        assert str(error.value) == f"no document {document_id!r}"
        with pytest.raises(NotFound):
            await store.delete(document_id, principal=other)
    assert await store.count(principal=principal) == 1


async def test_collections_of_one_tenant_are_apart(store: VectorStore, principal: Principal) -> None:
    await put(store, "a.md", ["one"], principal=principal, collection="first")
    await put(store, "b.md", ["two", "three"], principal=principal, collection="second")
    listed = await store.collections(principal=principal)
    assert [(c.name, c.documents, c.chunks, c.dimension) for c in listed] == [
        ("first", 1, 1, 384),
        ("second", 1, 2, 384),
    ]
    assert await store.count(principal=principal, collection="second") == 2
    assert await store.count(principal=principal, collection="third") == 0
    assert set(await store.content_hashes(principal=principal, collection="first")) == {"a.md"}
    found = await find(store, "one two", principal=principal, collection="second")
    assert {s.uri for s in found} == {"b.md"}


async def test_what_was_embedded_comes_back_as_it_was(store: VectorStore, principal: Principal) -> None:
    texts = ["first text", "second text", "third text"]
    await put(store, "a.md", texts, principal=principal)
    stored = await store.stored_chunks("a.md", principal=principal, collection="default")
    assert stored is not None
    assert (stored.title, [chunk.text for chunk in stored.chunks]) == ("title of a.md", texts)
    assert [(chunk.position, chunk.page, chunk.headings) for chunk in stored.chunks] == [
        (n, n + 1, ("Part", f"{n}")) for n in range(3)
    ]
    assert np.array_equal(stored.vectors, await EMBEDDER.embed_documents(texts))


async def test_the_neighbours_of_chunks_come_in_their_order(store: VectorStore, principal: Principal) -> None:
    texts = [f"text number {n}" for n in range(6)]
    await put(store, "a.md", texts, principal=principal)
    await put(store, "b.md", ["another document"], principal=principal)
    found = {each.text: each.id for each in await find(store, "text number", principal=principal, top_k=50)}
    ids = [found[texts[0]], found[texts[3]], str(uuid.uuid4()), "not a uuid"]
    around = await store.neighbours(ids, principal=principal, reach=1)
    read = {key: (each.position, [chunk.text for chunk in each.chunks]) for key, each in around.items()}
    assert read == {ids[0]: (0, texts[:2]), ids[1]: (3, texts[2:5])}
    assert await store.neighbours(ids, principal=Principal(tenant="somebody else"), reach=1) == {}
    assert await store.neighbours([], principal=principal, reach=1) == {}


async def test_chunks_that_are_not_mine_or_not_there_do_not_come_back(store: VectorStore, principal: Principal) -> None:
    await put(store, "a.md", ["text"], principal=principal)
    stranger = Principal(tenant=f"other-{uuid.uuid4()}")
    for who, uri, collection in (
        (stranger, "a.md", "default"),
        (principal, "b.md", "default"),
        (principal, "a.md", "x"),
    ):
        assert await store.stored_chunks(uri, principal=who, collection=collection) is None


async def test_documents_are_listed_page_by_page(store: VectorStore, principal: Principal) -> None:
    for n in range(5):
        await put(store, f"{n}.md", ["text"], principal=principal)
    seen: list[str] = []
    while page := await store.documents(principal=principal, limit=2, after=seen[-1] if seen else None):
        seen += [document.id for document in page]
    assert len(seen) == len(set(seen)) == 5


async def test_a_document_that_is_not_mine_or_not_there_cannot_be_read(
    store: VectorStore, principal: Principal
) -> None:
    mine = await put(store, "a.md", ["secret"], principal=principal)
    for document_id in (mine.document_id, str(uuid.uuid4()), "no uuid", ""):
        with pytest.raises(NotFound) as error:
            await store.read_document(document_id, principal=Principal("nobody"))
        assert str(error.value) == f"no document {document_id!r}"


@pytest.mark.parametrize(
    ("start", "limit", "begins", "read"),
    [(0, 3, 0, "012"), (4, 3, 4, "456"), (8, 3, 8, "89"), (10, 3, 10, ""), (-5, 2, 0, "01"), (2**31 - 1, 20, None, "")],
)
async def test_a_document_is_read_in_its_order(
    store: VectorStore, principal: Principal, start: int, limit: int, begins: int | None, read: str
) -> None:
    stored = await put(store, "a.md", [str(n) for n in range(10)], principal=principal, metadata={"year": 2024})
    excerpt = await store.read_document(stored.document_id, principal=principal, start=start, limit=limit)
    assert "".join(source.text for source in excerpt.sources) == read
    assert begins in (None, excerpt.start)
    assert (excerpt.document.id, excerpt.document.chunks) == (stored.document_id, 10)
    assert all((s.uri, s.metadata, s.similarity) == ("a.md", {"year": 2024}, None) for s in excerpt.sources)
    assert [s.headings for s in excerpt.sources] == [("Part", n) for n in read]


async def test_a_document_is_read_around_one_of_its_chunks(store: VectorStore, principal: Principal) -> None:
    stored = await put(store, "a.md", [f"text {n}" for n in range(10)], principal=principal)
    whole = (await store.read_document(stored.document_id, principal=principal)).sources
    for at, limit, expected in [(5, 3, [4, 5, 6]), (0, 3, [0, 1, 2]), (9, 4, [7, 8, 9])]:
        excerpt = await store.read_document(
            stored.document_id, principal=principal, start=2, around=whole[at].id, limit=limit
        )
        assert [whole.index(source) for source in excerpt.sources] == expected
        assert excerpt.start == expected[0]
    for gone in (str(uuid.uuid4()), "no uuid"):
        excerpt = await store.read_document(stored.document_id, principal=principal, start=2, around=gone, limit=1)
        assert excerpt.sources == (whole[2],)


async def test_what_is_read_is_what_a_search_finds(store: VectorStore, principal: Principal) -> None:
    stored = await put(store, "a.md", ["zebra", "lion"], principal=principal)
    (found, *_) = await find(store, "zebra", principal=principal)
    (read, *_) = (await store.read_document(stored.document_id, principal=principal)).sources
    assert read == replace(found, score=0.0, similarity=None)


async def test_a_document_without_chunks_can_be_read(store: VectorStore, principal: Principal) -> None:
    stored = await put(store, "empty.md", [], principal=principal)
    assert (await store.read_document(stored.document_id, principal=principal)).sources == ()


async def test_documents_are_found_by_uri(store: VectorStore, principal: Principal) -> None:
    for collection in ("first", "second"):
        await put(store, "a.md", ["text"], principal=principal, collection=collection)
    await put(store, "b.md", ["text"], principal=principal, collection="first")
    assert len(await store.documents(principal=principal, uri="a.md")) == 2
    (found,) = await store.documents(principal=principal, uri="a.md", collection="second")
    assert (found.uri, found.collection) == ("a.md", "second")
    assert await store.documents(principal=principal, uri="nul \0") == []
    assert await store.documents(principal=Principal("nobody"), uri="a.md") == []


async def test_writers_of_one_document_at_once_leave_one_version(store: VectorStore, principal: Principal) -> None:
    await asyncio.gather(*(put(store, "a.md", [f"text {n}", f"more {n}"], principal=principal) for n in range(8)))
    (document,) = await store.documents(principal=principal)
    assert document.version == 8
    assert await store.count(principal=principal) == 2
    assert len(await find(store, "text more", principal=principal, top_k=50)) == 2


async def test_writers_of_many_documents_at_once_all_succeed(store: VectorStore, principal: Principal) -> None:
    await asyncio.gather(*(put(store, f"{n}.md", ["text"], principal=principal) for n in range(20)))
    summary = await store.collection("default", principal=principal)
    assert (summary.documents, summary.chunks, summary.epoch) == (20, 20, 20)


async def test_a_reader_never_sees_half_of_a_document(store: VectorStore, principal: Principal) -> None:
    await put(store, "a.md", ["version 0 part"] * 5, principal=principal)
    done = asyncio.Event()

    async def write() -> None:
        for n in range(1, 15):
            await put(store, "a.md", [f"version {n} part"] * 5, principal=principal)
        done.set()

    async def read() -> None:
        while not done.is_set():
            found = await find(store, "version part", principal=principal, top_k=50)
            assert len(found) == 5
            assert len({s.text for s in found}) == 1
            await asyncio.sleep(0)

    await asyncio.gather(write(), read())


async def test_bulk_and_ping(store: VectorStore, principal: Principal) -> None:
    async with store.bulk(principal=principal, collection="default"):
        await put(store, "a.md", ["text"], principal=principal)
    async with store.bulk(principal=principal, collection="never made"):
        pass
    await store.ping()
    assert await store.count(principal=principal) == 1
