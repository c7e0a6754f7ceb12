"""Fewer near-duplicates among the results: Maximal Marginal Relevance and a cap per document."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ragents.embeddings.types import Vectors
from ragents.errors import InputError
from ragents.rag.store.types import SearchQuery
from ragents.rag.types import Source

MIN_POOL, POOL_PER_RESULT = 50, 5


def check_diversity(query: SearchQuery) -> None:
    """InputError for options that mean nothing."""
    if query.max_per_document is not None and query.max_per_document < 1:
        raise InputError(f"max_per_document = {query.max_per_document}: at least 1, or none", field="max_per_document")
    if query.mmr_lambda is not None and not 0 <= query.mmr_lambda <= 1:
        raise InputError(f"mmr_lambda = {query.mmr_lambda}: 0 (different) to 1 (relevant)", field="mmr_lambda")


def pool_size(query: SearchQuery) -> int:
    """How many of the best are chosen from."""
    return max(MIN_POOL, POOL_PER_RESULT * query.top_k)


def diversify(sources: Sequence[Source], vectors: Sequence[Vectors], query: SearchQuery) -> list[Source]:
    """top_k of `sources` (best first) in the order of their choice; `vectors` of length 1, one per source.

    Carbonell and Goldstein 1998: each time the one with the largest
    mmr_lambda * score - (1 - mmr_lambda) * (largest cosine to those chosen). Without mmr_lambda in the given order.
    """
    weight = 1.0 if query.mmr_lambda is None else query.mmr_lambda
    scores = weight * np.array([source.score for source in sources])
    nearest = np.zeros(len(sources))
    matrix = np.stack(vectors) if query.mmr_lambda is not None and sources else None
    left = np.ones(len(sources), bool)
    chosen: list[int] = []
    per_document: Counter[str] = Counter()
    while left.any() and len(chosen) < query.top_k:
        best = int(np.argmax(np.where(left, scores - (1 - weight) * nearest, -np.inf)))
        left[best] = False
        document = sources[best].document_id
        if query.max_per_document is not None and per_document[document] >= query.max_per_document:
            continue
        per_document[document] += 1
        chosen.append(best)
        if matrix is not None:
            similarity = matrix @ matrix[best]
            nearest = np.maximum(nearest, similarity) if len(chosen) > 1 else similarity
    return [sources[each] for each in chosen]
