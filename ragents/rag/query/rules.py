"""Other wordings and the parts of a question, without a model. English words; other languages give fewer or none."""

import re

from ragents.llm.wording import content_words

MAX_CHARACTERS = 1_000
"""A longer question is no question but a text, and has no wordings."""
LEAD = re.compile(
    r"^\W*(?:please\s+)?(?:(?:can|could|would)\s+you\s+)?(?:(?:tell|show|explain(?:\s+to)?)\s+(?:me|us)\s+)?"
    r"(?:what|which|who|whom|whose|when|where|why|how(?:\s+(?:many|much|long|often|far))?)\b\s*"
    r"(?:(?:is|are|was|were|do|does|did|can|could|should|would|will|has|have|had|must|may|might)\b\s*)?",
    re.IGNORECASE,
)
AUXILIARY = re.compile(
    r"^\W*(?:is|are|was|were|do|does|did|can|could|should|would|will|has|have|had|must)\b\s*", re.IGNORECASE
)
JOINED = re.compile(
    r"\?\s+|;\s+|,?\s+and\s+(?=(?:what|when|who|whom|where|which|how|why|is|are|was|were|do|does|did|can)\b)",
    re.IGNORECASE,
)
PAIRED = re.compile(
    r"^.*?\b(?:compare|differences?\s+between|similarit(?:y|ies)\s+between|between)\s+"
    r"(?P<a>.+?)\s+(?:and|with|to|versus|vs\.?)\s+(?P<b>.+)$",
    re.IGNORECASE,
)
VERSUS = re.compile(r"^(?P<a>.+?)\s+(?:versus|vs\.?)\s+(?P<b>.+)$", re.IGNORECASE)
MIN_WORDS = 2
"""A part with fewer words that carry a subject finds anything."""


def wordings(question: str, count: int) -> list[str]:
    """At most `count`, each unlike the question: as a statement, as its bare words."""
    if len(question) > MAX_CHARACTERS:
        return []
    bare = question.strip(" ?!.")
    statement = AUXILIARY.sub("", LEAD.sub("", bare, count=1), count=1).strip()
    made = [statement, " ".join(content_words(question))]
    return _others(made, question, count)


def parts(question: str, count: int) -> list[str]:
    """At most `count` questions that make up this one; none when it is one."""
    if len(question) > MAX_CHARACTERS:
        return []
    bare = " ".join(question.split())
    made = [part.strip(" ,;") for part in JOINED.split(bare)]
    telling = [part for part in made if len(content_words(part)) >= MIN_WORDS]
    if len(made) == 1 and (pair := PAIRED.match(bare.rstrip("?!. ")) or VERSUS.match(bare.rstrip("?!. "))):
        telling = [part for part in (pair["a"].strip(" ,"), pair["b"].strip(" ,")) if content_words(part)]
    return _others(telling, question, count) if len(telling) > 1 else []


def _others(made: list[str], question: str, count: int) -> list[str]:
    seen = {_key(question)}
    kept = []
    for each in made:
        if each and _key(each) not in seen:
            seen.add(_key(each))
            kept.append(each)
    return kept[:count]


def _key(text: str) -> str:
    return " ".join(text.lower().split()).strip(" ?!.")  # in this order: a blank may stand behind the question mark
