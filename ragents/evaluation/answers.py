"""How good answers are: exact match and token F1 as SQuAD counts them, citations that hold, questions declined.

A question whose list of answers is empty is one that the documents do not tell: to decline it is right.
"""

import re
import string
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from ragents.errors import InputError
from ragents.evaluation.beir import read_jsonl
from ragents.llm.passages import MARKER
from ragents.rag.prompt import DECLINED
from ragents.rag.types import RAGResponse

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class Asked:
    """`answers`: the right ones; none for a question that is to be declined."""

    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnswerReport:
    """Shares of 0..1. `f1`, `exact_match` and `contains` (an answer stands in what was said) over those that have one.

    `citations_valid`: of all citations, those whose source was retrieved and holds their quote. `declined_rightly` is
    over the questions without an answer, `declined_wrongly` over those with one; None where there are none.
    """

    questions: int
    exact_match: float | None
    f1: float | None
    contains: float | None
    citations_valid: float | None
    declined_rightly: float | None
    declined_wrongly: float | None

    def as_json(self) -> dict[str, float | None]:
        return {name: _rounded(getattr(self, name)) for name in self.__slots__}


def read_questions(file: Path) -> list[Asked]:
    """JSON lines: {"question": "...", "answers": ["...", ...]}. InputError that names the line."""
    if not file.is_file():
        raise InputError(f"{file} is not a file", field="answers")
    return list(_read(file))


async def evaluate_answers(
    questions: Sequence[Asked],
    ask: Callable[[str], Awaitable[RAGResponse]],
    *,
    on_answer: Callable[[], None] = lambda: None,
) -> AnswerReport:
    exact, f1, contains, cited, rightly, wrongly = parts = tuple[list[float], ...]([] for _ in range(6))
    for each in questions:
        response = await ask(each.question)
        told, declined = said(response), (response.answer or DECLINED) == DECLINED
        cited += [float(_holds(response, n)) for n in range(len(response.citations))]
        if each.answers:
            exact.append(max(float(normalised(told) == normalised(answer)) for answer in each.answers))
            f1.append(max(token_f1(told, answer) for answer in each.answers))
            contains.append(max(float(normalised(answer) in normalised(told)) for answer in each.answers))
            wrongly.append(float(declined))
        else:
            rightly.append(float(declined))
        on_answer()
    return AnswerReport(len(questions), *(fmean(part) if part else None for part in parts))


def said(response: RAGResponse) -> str:
    """The answer without its markers."""
    return MARKER.sub("", response.answer or "").strip()


def normalised(text: str) -> str:
    """Lower case, without punctuation, articles and extra blanks (SQuAD's evaluation script)."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def token_f1(told: str, answer: str) -> float:
    """Of the words in both; 1 for two empty texts."""
    ours, theirs = normalised(told).split(), normalised(answer).split()
    if not ours or not theirs:
        return float(ours == theirs)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(ours), shared / len(theirs)
    return 2 * precision * recall / (precision + recall)


def _holds(response: RAGResponse, number: int) -> bool:
    citation = response.citations[number]
    source = next((each for each in response.sources if each.id == citation.source_id), None)
    return source is not None and " ".join(citation.quote.split()) in " ".join(source.text.split())


def _read(file: Path) -> Iterator[Asked]:
    for number, record in read_jsonl(file):
        match record:
            case {"question": str(question), "answers": [*answers]} if question.strip() and all(
                isinstance(each, str) and each.strip() for each in answers
            ):
                yield Asked(question, tuple(answers))
            case _:
                raise InputError(
                    f'{file}, line {number}: expected {{"question": "...", "answers": ["...", ...]}}', field="answers"
                )


def _rounded(value: float | None) -> float | None:
    return round(value, 4) if isinstance(value, float) else value
