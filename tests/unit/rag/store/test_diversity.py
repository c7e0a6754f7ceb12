"""Maximal Marginal Relevance and the cap per document."""

import numpy as np

from ragents.rag.store import SearchQuery
from ragents.rag.store.diversity import diversify
from ragents.rag.types import Source


def source(name: str, score: float, document: str = "d") -> Source:
    return Source(id=name, document_id=document, uri=document, title="", text=name, score=score)


def query(**fields: object) -> SearchQuery:
    return SearchQuery("q", None, "c", **{"top_k": 2, **fields})  # type: ignore[arg-type]


def test_a_near_duplicate_gives_way_to_something_else() -> None:
    sources = [source("best", 1.0), source("copy", 0.95), source("other", 0.6)]
    vectors = [np.array(v, np.float32) for v in ([1, 0], [1, 0], [0, 1])]
    chosen = diversify(sources, vectors, query(mmr_lambda=0.5))
    assert [each.text for each in chosen] == ["best", "other"]
    assert [each.text for each in diversify(sources, vectors, query(mmr_lambda=0.99))] == ["best", "copy"]


def test_a_document_at_its_cap_is_passed_over() -> None:
    sources = [source("1", 1.0), source("2", 0.9), source("3", 0.8, "e")]
    chosen = diversify(sources, [], query(max_per_document=1))
    assert [each.text for each in chosen] == ["1", "3"]


def test_nothing_gives_nothing() -> None:
    assert diversify([], [], query(mmr_lambda=0.5)) == []
