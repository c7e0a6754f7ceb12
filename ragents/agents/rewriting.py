"""Questions by rules: a follow-up made to stand alone, and other queries for what the first one did not find."""

import re
from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from ragents.llm.wording import WORD, content_words

POINTING = set(
    "it its itself they them their theirs he him his she her hers this these those there one ones".split()  # noqa: SIM905
)
EXISTENTIAL = re.compile(r"\b(?:is|are|was|were)\s+there\b|\bthere\s+(?:is|are|was|were)\b", re.IGNORECASE)
POINTING_THAT = re.compile(r"\bthat\s*(?:[?.!]|$|(?:is|was|does|did|has|one)\b)", re.IGNORECASE)
OPENER = re.compile(r"^\W*(?:and|but|or|so|what about|how about|what if|what else)\b", re.IGNORECASE)
CONJUNCTION = re.compile(r"\s*[;?]\s+|,?\s+(?:and|or|as well as)\s+", re.IGNORECASE)
MAX_ADDED_WORDS, MAX_QUESTIONS_BACK, MAX_PARTS = 8, 3, 4


def standalone(question: str, history: Sequence[BaseMessage]) -> str:
    """`question`, with the subject of the one before when it points to it ("and why is it there?")."""
    if not history or not _leans_on_what_was_said(question):
        return question
    added = _subject(question, history)
    return f"{question} ({' '.join(added)})" if added else question


def other_queries(question: str, history: Sequence[BaseMessage]) -> list[str]:
    """What to search when `question` found too little: its parts, or its bare words.

    Words of the conversation are added to a question that points to it only: added to a new subject, they would find
    the old one's passages, with confidence. Empty when nothing differs from the question.
    """
    parts = [part.strip(" ?.!") for part in CONJUNCTION.split(question)]
    telling = [part for part in parts if len(content_words(part)) > 1]
    if len(telling) > 1:
        return telling[:MAX_PARTS]
    more = _subject(question, history)[:4] if _leans_on_what_was_said(question) else []
    query = " ".join([*content_words(question), *more])
    return [query] if query and query != question.lower().strip(" ?.!") else []


def _leans_on_what_was_said(question: str) -> bool:
    words = {word.lower() for word in WORD.findall(EXISTENTIAL.sub("", question))}
    return bool(
        words & POINTING or OPENER.search(question) or POINTING_THAT.search(question) or not content_words(question)
    )


def _subject(question: str, history: Sequence[BaseMessage]) -> list[str]:
    """Content words of the newest earlier question that has two or more, and of those after it."""
    known, added = set(content_words(question)), list[str]()
    asked = [str(message.content) for message in history if message.type == "human"]
    for earlier in reversed(asked[-MAX_QUESTIONS_BACK:]):
        words = content_words(earlier)
        added = [word for word in words if word not in known and word not in added] + added
        if len(words) > 1:
            break
    return added[:MAX_ADDED_WORDS]
