"""Shadow checks: how often an answer found by meaning is not the one that would have been given afresh."""

import re
from dataclasses import dataclass

from ragents.llm.wording import numbers, stems
from ragents.rag.types import RAGResponse

MARKER = re.compile(r"\[\d{1,3}(?:\s*,\s*\d{1,3})*\]")
SAME_WORDS = 0.6
"""Share of all words of two answers from which they say the same, whatever they cite."""
SAME_SOURCES, SIMILAR_WORDS = 0.5, 0.3
"""Or they cite the same, as to this share of all sources cited, and have this share of words in common."""


@dataclass(slots=True)
class ShadowBudget:
    """Counts comparisons, and says when there have been too many differences."""

    max_rate: float
    min_samples: int
    samples: int = 0
    differences: int = 0

    def count(self, *, same: bool) -> None:
        self.samples += 1
        self.differences += not same

    @property
    def exceeded(self) -> bool:
        return self.samples >= self.min_samples and self.differences > self.max_rate * self.samples


def same_answer(stored: RAGResponse, fresh: RAGResponse) -> bool:
    """Whether two answers tell a reader the same: their numbers agree, and their words, or words and sources, do."""
    ours, theirs = MARKER.sub("", stored.answer or ""), MARKER.sub("", fresh.answer or "")
    if _plain(ours) == _plain(theirs):
        return True
    if numbers(ours) != numbers(theirs) and not numbers(ours) & numbers(theirs):
        return False
    words = _share(stems(ours), stems(theirs))
    cited = _share({each.source_id for each in stored.citations}, {each.source_id for each in fresh.citations})
    return words >= SAME_WORDS or (cited >= SAME_SOURCES and words >= SIMILAR_WORDS)


def _share(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b) if a | b else 0.0


def _plain(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().lower()
