"""Filters and the choice among results mean the same in every store."""

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from ragents.errors import InputError
from ragents.principal import Principal
from ragents.rag.store import SearchQuery, StoreConfig, VectorStore
from ragents.rag.store.pgvector import open_pgvector
from ragents.rag.types import Chunk, Document
from tests.stores import LANGCHAIN, open_backend

BACKENDS = ["memory", "postgres", "postgres, by index", *LANGCHAIN]
DOCUMENTS: dict[str, dict[str, Any]] = {
    "a": {"year": 2019, "lang": "en", "draft": True, "day": "2019-12-31"},
    "b": {"year": 2020, "lang": "de", "draft": False, "day": "2020-01-01"},
    "c": {"year": 2020.5, "lang": "EN", "size": None, "day": "2020-01-01T10:00:00Z"},
    "d": {"year": "2020", "lang": "é", "draft": 1},
    "e": {"it's": 'a "key"', "emoji 🙂": "🙂", "nul \0": "nul \0 and \ud800", "": "empty", "year": -3},
    "f": {},
}
CASES: list[tuple[dict[str, Any], str]] = [
    ({}, "abcdef"),
    ({"year": 2020}, "b"),
    ({"year": 2020.0}, "b"),
    ({"year": "2020"}, "d"),
    ({"draft": True}, "a"),
    ({"draft": 1}, "d"),
    ({"draft": {"in": [1, False]}}, "bd"),
    ({"year": {"in": [2019, 2020.5, "2020"]}}, "acd"),
    ({"year": {"in": []}}, ""),
    ({"lang": {"in": [str(n) for n in range(999)] + ["en"]}}, "a"),
    ({"year": {"ne": 2020}}, "acdef"),
    ({"draft": {"ne": True}}, "bcdef"),
    ({"size": {"ne": "x"}}, "abcdef"),
    ({"year": {"gt": 2020}}, "c"),
    ({"year": {"gte": 2020}}, "bc"),
    ({"year": {"lt": 2019.5}}, "ae"),
    ({"year": {"lte": -3}}, "e"),
    ({"year": {"gte": 2019, "lt": 2020.5}}, "ab"),
    ({"year": {"gt": "2019"}}, "d"),
    ({"day": {"gte": "2020-01-01", "lt": "2021"}}, "bc"),
    ({"day": {"lt": "2020"}}, "a"),
    ({"lang": {"gt": "a"}}, "abd"),
    ({"lang": {"lt": "a"}}, "c"),
    ({"lang": {"gt": "z"}}, "d"),
    ({"draft": {"gte": 0}}, "d"),
    ({"draft": {"exists": True}}, "abd"),
    ({"draft": {"exists": False}}, "cef"),
    ({"size": {"exists": True}}, ""),
    ({"size": {"exists": False}}, "abcdef"),
    ({"it's": 'a "key"'}, "e"),
    ({"it's": {"gt": "a"}}, "e"),
    ({"emoji 🙂": "🙂"}, "e"),
    ({"nul \0": "nul \0 and \ud800"}, "e"),
    ({"nul \0": {"exists": True}}, "e"),
    ({"missing": "x"}, ""),
    ({"'; DROP TABLE ragents.documents; --": {"gt": "$1"}}, ""),
    ({"year": {"gte": 2020}, "lang": "de", "draft": {"exists": True}}, "b"),
    ({"year": {"gte": 2020}, "lang": {"ne": "de"}, "day": {"exists": True}}, "c"),
]


@pytest.fixture(scope="module", params=BACKENDS)
async def store(request: pytest.FixtureRequest, migrated: str, postgres: str) -> AsyncIterator[VectorStore]:
    """Six documents of one tenant. With an index, everything but the filters is broad: rows are asked one by one."""
    if request.param == "postgres, by index":
        async with open_pgvector(migrated, StoreConfig(), exact_below=0, migrate_dsn=postgres) as opened:
            await _fill(opened)
            yield opened
    else:
        async with open_backend(request.param, dsn=migrated, migrate_dsn=postgres) as opened:
            await _fill(opened)
            yield opened


OWNER = Principal(tenant="tests of filters")
VECTORS = np.eye(12, 16, dtype=np.float32)


async def _fill(store: VectorStore) -> None:
    async with store.bulk(principal=OWNER, collection="default"):
        for number, (uri, metadata) in enumerate(DOCUMENTS.items()):
            await store.upsert(
                Document(uri, uri, "md", "h", metadata=metadata),
                [Chunk(n, f"text {uri} {n}", 0, 1) for n in range(2)],
                VECTORS[2 * number : 2 * number + 2],
                principal=OWNER,
                collection="default",
                embedding_model="m",
            )


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
@pytest.mark.parametrize(("filters", "uris"), CASES)
async def test_a_filter_keeps_what_passes_and_nothing_else(
    store: VectorStore, filters: dict[str, Any], uris: str, mode: Any
) -> None:
    query = SearchQuery("text", VECTORS.sum(axis=0) / 12**0.5, "default", top_k=50, mode=mode, filters=filters)
    found = await store.search(query, principal=OWNER)
    assert "".join(sorted({source.uri for source in found})) == uris
    assert len(found) == 2 * len(uris)


async def test_a_filter_that_cannot_be_asked_is_an_input_error(store: VectorStore) -> None:
    query = SearchQuery("text", VECTORS[0], "default", filters={"year": {"above": 3}})
    with pytest.raises(InputError, match=r"filters\.year"):
        await store.search(query, principal=OWNER)


@pytest.mark.parametrize(("field", "value"), [("max_per_document", 0), ("mmr_lambda", 1.5), ("mmr_lambda", -0.1)])
async def test_a_choice_that_means_nothing_is_an_input_error(store: VectorStore, field: str, value: Any) -> None:
    with pytest.raises(InputError, match=field):
        await store.search(SearchQuery("text", VECTORS[0], "default", **{field: value}), principal=OWNER)


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
@pytest.mark.parametrize("mmr_lambda", [None, 0.7])
async def test_no_document_has_more_results_than_allowed(
    store: VectorStore, mode: Any, mmr_lambda: float | None
) -> None:
    query = SearchQuery("text", VECTORS[0], "default", top_k=6, mode=mode, max_per_document=1, mmr_lambda=mmr_lambda)
    found = await store.search(query, principal=OWNER)
    assert sorted(source.uri for source in found) == list("abcdef")


async def test_relevance_alone_keeps_the_order(store: VectorStore) -> None:
    plain = SearchQuery("text b 1", VECTORS[3], "default", top_k=4)
    found = await store.search(plain, principal=OWNER)
    chosen = await store.search(
        SearchQuery("text b 1", VECTORS[3], "default", top_k=4, mmr_lambda=1.0), principal=OWNER
    )
    assert [source.score for source in found] == pytest.approx([source.score for source in chosen])
    assert found[0].text == chosen[0].text == "text b 1"
