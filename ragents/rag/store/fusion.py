"""Two lists of scores into one: standardised, weighted, scaled to 0..1. See docs/decisions/0015."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

EVEN = 1e-6
"""Scores closer than this are equal: what is left is rounding."""


def fuse(similarities: Sequence[float], bm25: Sequence[float], *, dense_weight: float) -> list[float]:
    """One score for each candidate, from both of its own."""
    fused = dense_weight * standardised(similarities) + (1 - dense_weight) * standardised(bm25)
    return list(fused.tolist())


def standardised(values: Sequence[float]) -> NDArray[np.float64]:
    found = np.array(values, np.float64)
    spread = found.std() if len(found) else 0.0
    return (found - found.mean()) / spread if spread > EVEN else np.zeros(len(found))


def scaled(scores: Mapping[str, float]) -> dict[str, float]:
    low, high = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
    return {key: (score - low) / (high - low) if high - low > EVEN else 1.0 for key, score in scores.items()}
