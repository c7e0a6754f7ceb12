"""Exact scores and their order, in Python: what the memory store answers with, and indexes are measured by."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ragents.embeddings.types import Vectors
from ragents.rag.store.fusion import fuse
from ragents.rag.store.types import SearchQuery
from ragents.rag.types import Chunk

WORD = re.compile(r"\w+")
K1, B = 1.2, 0.75


@dataclass(slots=True)
class Row:
    """One chunk with what a search needs of it."""

    id: str
    document_id: str
    chunk: Chunk
    embedding: Vectors
    words: Counter[str]


def dense_scores(rows: Sequence[Row], query: SearchQuery) -> dict[str, float]:
    if query.embedding is None:
        return {}
    return {row.id: float(np.dot(row.embedding, query.embedding)) for row in rows}


def bm25_scores(rows: Sequence[Row], text: str, *, among: Sequence[Row], average_words: float) -> dict[str, float]:
    """Robertson and Zaragoza 2009, with Lucene's idf, by the frequencies in all of the collection's rows (`among`)."""
    terms = set(_tokens(text))
    frequency = Counter(term for row in among for term in terms & row.words.keys())
    scores = {}
    for row in rows:
        score = 0.0
        for term in terms & row.words.keys():
            n, df = row.words[term], frequency[term]
            idf = math.log(1 + (max(len(among), df) - df + 0.5) / (df + 0.5))
            score += idf * n * (K1 + 1) / (n + K1 * (1 - B + B * row.words.total() / average_words))
        if score > 0:
            scores[row.id] = score
    return scores


def fused_scores(dense: Mapping[str, float], lexical: Mapping[str, float], query: SearchQuery) -> dict[str, float]:
    """The best of either list; in hybrid mode with both scores, standardised over all of them."""
    best = {"dense": _longest(dense, query), "lexical": _longest(lexical, query)}
    if query.mode != "hybrid":
        return best[query.mode]
    keys = sorted(best["dense"].keys() | best["lexical"].keys())
    bm25 = [lexical.get(key, 0.0) for key in keys]
    return dict(zip(keys, fuse([dense[key] for key in keys], bm25, dense_weight=query.dense_weight), strict=True))


def _longest(scores: Mapping[str, float], query: SearchQuery) -> dict[str, float]:
    limit = max(query.candidates, query.top_k)
    return dict(sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:limit])


def words_of(title: str, chunk: Chunk) -> Counter[str]:
    return Counter(_tokens(" ".join((title, *chunk.headings, chunk.text))))


def _tokens(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]
