"""The gate: whether a question may be given the answer to another one. When in doubt it may not."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from ragents.rag.cache.semantic.canonical import NAME, Canonical, canonical, same_word, stem

THRESHOLD = 0.8
Reason = Literal[
    "same", "similarity", "moment", "asked", "tense", "negation", "numbers", "names", "direction", "words", "order"
]
_DIRECTIONS = """
    from to into onto in out on off up down over under above below before after until since by with without for against
    if unless than more less most least between through across toward towards within outside inside first last next
    previous only even always never no none all some any every each either both neither who whom whose that which
"""
DIRECTIONS = frozenset(_DIRECTIONS.split())


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is the first thing that keeps the two apart, for the log and the statistics."""

    may_share: bool
    reason: Reason


def judge(question: str, stored: str, similarity: float, *, threshold: float = THRESHOLD) -> Verdict:
    """`similarity`: the cosine of the two questions' vectors."""
    if similarity < threshold:
        return Verdict(False, "similarity")
    reason = _difference(canonical(question), canonical(stored))
    return Verdict(reason == "same", reason)


def may_share(question: str, stored: str, similarity: float, *, threshold: float = THRESHOLD) -> bool:
    return judge(question, stored, similarity, threshold=threshold).may_share


def _difference(a: Canonical, b: Canonical) -> Reason:
    if a.of_the_moment or b.of_the_moment:
        return "moment"
    if not a.words or not b.words:
        return "words"
    if a.negated != b.negated:
        return "negation"
    if a.numbers != b.numbers:
        return "numbers"
    lower_case = a.lower_case or b.lower_case
    if a.asked == b.asked and a.tense == b.tense and _same_words(a.words, b.words, lower_case=lower_case):
        return "same"
    if a.asked != b.asked:
        return "asked"
    if a.tense != b.tense:
        return "tense"
    return _difference_of_words(a, b)


def _same_words(a: tuple[str, ...], b: tuple[str, ...], *, lower_case: bool) -> bool:
    return len(a) == len(b) and all(same_word(x, y, lower_case=lower_case) for x, y in zip(a, b, strict=True))


def _difference_of_words(a: Canonical, b: Canonical) -> Reason:
    ours, theirs = Counter(map(stem, a.words)), Counter(map(stem, b.words))
    apart = set((ours - theirs) + (theirs - ours))
    if not apart:
        return "order"
    if "not" in apart:
        return "negation"
    if apart <= DIRECTIONS:
        return "direction"
    if any(word.startswith(NAME) for word in apart):
        return "names"
    return "words"
