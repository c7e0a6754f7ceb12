"""Lists of several queries into one, by reciprocal rank (Cormack, Clarke and Buettcher 2009)."""

from collections.abc import Sequence
from dataclasses import replace

from ragents.rag.types import Source

K = 60
"""As in the paper: how little the first ranks differ."""


def fuse_lists(lists: Sequence[Sequence[Source]], *, top_k: int, first_weight: float = 1.0) -> tuple[Source, ...]:
    """The best `top_k` of all lists with scores of 0..1; of equal ones the first list's order decides.

    A source that several lists hold is taken from the first of them, so that its similarity is to the question where
    the question itself found it. `first_weight` is what the first list counts, against 1 for each other.
    """
    if len(lists) == 1:
        return tuple(lists[0][:top_k])
    scores: dict[str, float] = {}
    sources: dict[str, Source] = {}
    for number, each in enumerate(lists):
        weight = first_weight if number == 0 else 1.0
        for rank, source in enumerate(each):
            scores[source.id] = scores.get(source.id, 0.0) + weight / (K + rank + 1)
            sources.setdefault(source.id, source)
    most = (first_weight + len(lists) - 1) / (K + 1)
    best = sorted(sources, key=lambda key: -scores[key])[:top_k]  # stable: the first list was put in first
    return tuple(replace(sources[key], score=scores[key] / most) for key in best)
