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
    """`question`, with the subject of the one before when it points to it ("and why is it there?").

    Of a question that asks something of its own ("what does its error E12 mean?") the subject is the names that the one
    before has: what else was asked of them would be answered again.
    """
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
    return bool(_points(question) or OPENER.search(question) or not content_words(question))


def _points(question: str) -> bool:
    words = {word.lower() for word in WORD.findall(EXISTENTIAL.sub("", question))}
    return bool(words & POINTING or POINTING_THAT.search(question))


def _subject(question: str, history: Sequence[BaseMessage]) -> list[str]:
    """Content words of the newest earlier question that has two or more, and of those after it; or its names."""
    known, added = set(content_words(question)), list[str]()
    asked = [str(message.content) for message in history if message.type == "human"][-MAX_QUESTIONS_BACK:]
    if known and _points(question):
        named = ([word for word in _names(earlier) if word not in known] for earlier in reversed(asked))
        if names := next(filter(None, named), None):
            return names[:MAX_ADDED_WORDS]
    for earlier in reversed(asked):
        words = content_words(earlier)
        added = [word for word in words if word not in known and word not in added] + added
        if len(words) > 1:
            break
    return added[:MAX_ADDED_WORDS]


def _names(question: str) -> list[str]:
    """Content words with a capital letter; at the beginning, where every word has one, with another sign of a name."""
    first, *others = WORD.findall(question) or [""]
    marked = [word for word in others if word.lower() != word]
    if first[1:].lower() != first[1:] or any(sign.isdigit() for sign in first):
        marked.insert(0, first)
    return content_words(" ".join(marked))
