"""How likely the sources tell: one number in 0..1 that the gate compares with RAGConfig.min_confidence."""

import math
from collections.abc import Sequence

from ragents.rag.types import Source

MIDPOINT, STEEPNESS = 0.35, 12.0


def confidence_of(sources: Sequence[Source]) -> float:
    """A logistic curve over the best cosine similarity among the sources."""
    best = max((source.similarity for source in sources if source.similarity is not None), default=None)
    if best is None:
        return 0.0
    return 1 / (1 + math.exp(-STEEPNESS * (best - MIDPOINT)))
