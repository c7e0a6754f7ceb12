"""What to do next where no model can call tools: calculate what is arithmetic, search, read on around a fair find."""

import re
from collections.abc import Mapping, Sequence

from langchain_core.messages import BaseMessage, ToolMessage

from ragents.agents.rewriting import standalone
from ragents.rag.types import RAGResponse

Call = tuple[str, Mapping[str, str]]
GOOD = 0.75
"""Confidence from which the passages found are taken as they are, without reading on."""

ASKING = re.compile(
    r"^\s*(?:what(?:'s| is| are)|how much (?:is|are)|calculate|compute|evaluate)\b[\s:]*", re.IGNORECASE
)
NUMBER = r"\d[\d,]*(?:\.\d+)?"
ARITHMETIC = re.compile(rf"[-+(\s]*{NUMBER}[\s)]*(?:(?:\*\*|[-+*/^×÷]|% of)[-+(\s]*{NUMBER}[\s)]*)+%?")
DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}/\d{1,2}/\d{2,4}")


def next_call(
    question: str,
    *,
    history: Sequence[BaseMessage],
    results: Sequence[ToolMessage],
    found: RAGResponse,
    min_confidence: float,
) -> Call | None:
    """The next tool and its arguments; None when it is time to answer. `results` are this turn's so far."""
    called = {result.name: result.status for result in results}
    expression = arithmetic_in(question)
    if expression and "calculate" not in called:
        return "calculate", {"expression": expression}
    if called.get("calculate") == "success":
        return None
    if "search_documents" not in called:
        return "search_documents", {"query": standalone(question, history)}
    if "open_document" not in called and found.sources and min_confidence <= found.confidence < GOOD:
        return "open_document", {"document": "[1]"}
    return None


def arithmetic_in(question: str) -> str | None:
    """The expression of a question that is nothing but arithmetic on numbers; dates are not."""
    expression = ASKING.sub("", question).strip(" \t\n?=.!")
    return expression if ARITHMETIC.fullmatch(expression) and not DATE.search(expression) else None
