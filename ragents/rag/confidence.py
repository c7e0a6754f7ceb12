"""How likely the sources tell: one number in 0..1 that the gate compares with RAGConfig.min_confidence."""

import math
from collections.abc import Sequence

from ragents.llm.wording import numbers, stems
from ragents.rag.types import Source

COSINE, COVERAGE, INTERCEPT = 7.17, 3.88, -5.76
"""Logistic regression of "one of the five sources is judged relevant" for all-MiniLM-L6-v2, on the 809 training
questions of SciFact and 225 of Cranfield that SciFact cannot answer, both sets with one weight (docs/quality.md)."""
NEAR = 0.45
"""A cosine from which on a passage most likely bears on the question."""


def confidence_of(question: str, sources: Sequence[Source]) -> float:
    """From the best cosine among the sources, and the share of the question's content words that the first one has."""
    best = max((source.similarity for source in sources if source.similarity is not None), default=None)
    if best is None:
        return 0.0
    return 1 / (1 + math.exp(-(COSINE * best + COVERAGE * coverage(question, sources[0]) + INTERCEPT)))


def coverage(question: str, source: Source) -> float:
    """Share of the question's content words and numbers that a source has, its title and headings included."""
    asked = stems(question) | numbers(question)
    if not asked:
        return 0.0
    text = "\n".join((source.title, *source.headings, source.text))
    return len(asked & (stems(text) | numbers(text))) / len(asked)
