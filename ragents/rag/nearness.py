"""A second look at the best passages: those with a sentence that has the question's words together move up."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ragents.llm.sentences import split_sentences
from ragents.llm.wording import pairs, terms
from ragents.rag.types import Source

LOOKED_AT = 10
"""Of the best; with 20 the order was no better."""
TOGETHER = 0.3
"""What a sentence with all of the question's words is worth, where 1 lies between the best candidate and the last."""
SHORT = 3
"""Words. Of a question with more, less can stand in one sentence, and its share counts for less by as much."""
PAIR = 0.5
"""What two words side by side, as the question has them, are worth beside a single one as rare."""


def by_nearness(question: str, sources: Sequence[Source]) -> tuple[Source, ...]:
    """`sources`, best first, in their new order and with their new scores, in 0..1 as before.

    BM25 and the vector of a chunk know how much of the question a chunk has, and not whether it is in one place.
    """
    words = terms(question)
    asked = words | pairs(question)
    looked = sources[:LOOKED_AT]
    told = [[asked & (terms(text) | pairs(text)) for text in _sentences(source)] for source in looked]
    count = Counter(term for sentences in told for term in set[object]().union(*sentences))
    weights = {
        term: (PAIR if isinstance(term, tuple) else 1.0) * math.log(1 + len(looked) / max(1, count[term]))
        for term in asked
    }
    whole = sum(weights.values()) or 1.0
    worth = TOGETHER * min(1.0, SHORT / max(1, len(words))) / whole
    gains = [worth * max(sum(weights[term] for term in sentence) for sentence in sentences) for sentences in told]
    scored = [
        replace(source, score=(source.score + gain) / (1 + TOGETHER))
        for source, gain in zip(sources, [*gains, *[0.0] * len(sources[LOOKED_AT:])], strict=True)
    ]
    return tuple(sorted(scored, key=lambda source: -source.score))


def _sentences(source: Source) -> list[str]:
    return split_sentences(source.text) or [source.text]
