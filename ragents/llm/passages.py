"""How question and passages travel inside a chat message: as text for every model, and as data beside it.

The data rides in `additional_kwargs`, which providers do not send: the extractive model need not parse a prompt.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from langchain_core.messages import BaseMessage, HumanMessage

KEY = "ragents"
MARKER = re.compile(r"\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")
"""How an answer cites passages: [2], or several as [2, 3]."""


@dataclass(frozen=True, slots=True)
class Passage:
    """`marker` is the n of [n]; `origin` says where it stands (title, page), `headings` under which of them."""

    marker: int
    text: str
    origin: str = ""
    headings: Sequence[str] = ()


def question_message(question: str, passages: Sequence[Passage]) -> HumanMessage:
    """The passages fenced as data, then the question."""
    return HumanMessage(
        content=f"Passages:\n\n{fence(passages)}\n\nQuestion: {question}",
        additional_kwargs={KEY: {"question": question, "passages": [asdict(p) for p in passages]}},
    )


def fence(passages: Sequence[Passage]) -> str:
    return "\n\n".join(
        f'<passage n="{p.marker}" from="{_attribute(p.origin)}">\n{_fenced(p.text)}\n</passage>' for p in passages
    )


def question_of(messages: Sequence[BaseMessage]) -> str:
    data = messages[-1].additional_kwargs.get(KEY) if messages else None
    return str(data["question"]) if data else (str(messages[-1].content) if messages else "")


def passages_of(messages: Sequence[BaseMessage]) -> list[Passage]:
    data = messages[-1].additional_kwargs.get(KEY) if messages else None
    return [Passage(**passage) for passage in data["passages"]] if data else []


def _fenced(text: str) -> str:
    """A passage cannot close its own fence."""
    return text.replace("</passage", "<\\/passage")


def _attribute(text: str) -> str:
    return text.replace('"', "'").replace("<", "").replace("\n", " ")
