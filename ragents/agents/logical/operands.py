"""Operands: the one date or amount that a phrase names, found in the sentences of the sources. Never guessed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from ragents.agents.computation import FoundDate, FoundQuantity, find_dates, find_quantities
from ragents.llm.passages import MARKER
from ragents.llm.sentences import BOUNDARY
from ragents.rag.types import Source

ENOUGH = 0.6
"""Share of the phrase's words that sentence, headings and title must hold between them."""
MAX_SENTENCE = 240
HEADING = re.compile(r"^(\s{0,3}#{1,6} .*)$", re.MULTILINE)
WORD = re.compile(r"[^\W_]{3,}|\d+")
SUFFIX = re.compile(r"(?:ments?|ings?|ions?|ies|ed|es|s|e)$")
STOP = re.compile(
    r"the|and|for|with|its|his|her|their|our|this|that|these|those|are|was|were|has|had|have|from|when|what|which|how|"
    r"did|does|date|day|year|between|value|number|amount|much|many|said|made"
)


@dataclass(frozen=True, slots=True)
class Operand:
    """`expression` is what `calculate` reads; `sentence` is the source's own. No source: it was in the question."""

    name: str
    expression: str
    sentence: str = ""
    source: Source | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rivals:
    """Documents that tell different values for one phrase, equally well."""

    name: str
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    rank: tuple[float, float]
    operand: Operand


def find_operand(
    name: str, sources: Sequence[Source], *, of_dates: bool, others: Sequence[str] = ()
) -> Operand | Rivals | None:
    """The value that the best matching sentence gives for `name`; `others` are the phrases it must be told from."""
    if (literal := literal_operand(name, of_dates=of_dates)) is not None:
        return literal
    words = stems(name)
    if not words:
        return None
    own = words - {stem for other in others for stem in stems(other)} or words
    candidates = [
        candidate
        for source in sources
        for sentence in sentences_of(source)
        if (candidate := _candidate(name, words, own, sentence, source, of_dates=of_dates)) is not None
    ]
    if not candidates:
        return None
    best = max(candidate.rank for candidate in candidates)
    level = [candidate.operand for candidate in candidates if candidate.rank == best]
    if len({operand.expression for operand in level}) > 1:
        return Rivals(name, tuple(level))
    return level[0]


def literal_operand(name: str, *, of_dates: bool) -> Operand | None:
    """The phrase is itself a date or an amount, such as "2021-03-03" or "3,000 km"."""
    found: Sequence[FoundDate | FoundQuantity]
    found = find_dates(name, partial=True) if of_dates else find_quantities(name)
    if len(found) != 1 or stems(name.replace(found[0].text, "")):
        return None
    return Operand(name, _expression(found[0]), note=_note(found[0]))


def dates_in(sources: Sequence[Source]) -> list[Operand]:
    """Every distinct day that the sources name, in order of appearance, with its first sentence."""
    found: dict[date, Operand] = {}
    for source in sources:
        for sentence in sentences_of(source):
            for each in find_dates(sentence):
                operand = Operand(each.text, each.date.isoformat(), sentence, source, each.note)
                found.setdefault(each.date, operand)
    return list(found.values())


def sentences_of(source: Source) -> list[str]:
    """Headings and short lines too ("Budget: 80,000 EUR"), without markers that would read as citations."""
    text = HEADING.sub(r"\1\n\n", source.text)  # else it runs into the sentence below it
    parts = (" ".join(MARKER.sub("", part).split()) for part in BOUNDARY.split(text))
    return [part.lstrip("#>*-+ ") for part in parts if part]


def shown(sentence: str, expression: str) -> str:
    """The sentence for the answer, cut around what it is cited for when it is long."""
    text = sentence.rstrip(".!? ")
    if len(text) <= MAX_SENTENCE:
        return text
    found: list[FoundDate | FoundQuantity] = [*find_dates(text), *find_quantities(text, bare=True)]
    at = next((each.start for each in found if _expression(each) == expression), 0)
    start = max(0, at - MAX_SENTENCE // 2)
    return f"{'... ' if start else ''}{text[start : start + MAX_SENTENCE]} ..."


def stems(text: str) -> set[str]:
    words = (word.lower() for word in WORD.findall(text))
    return {SUFFIX.sub("", word) or word for word in words if not STOP.fullmatch(word)}


def _candidate(
    name: str, words: set[str], own: set[str], sentence: str, source: Source, *, of_dates: bool
) -> _Candidate | None:
    here = stems(sentence)
    around = here | stems(" ".join((source.title, source.uri, *source.headings)))
    covered = len(words & around) / len(words)
    if covered < ENOUGH or not own & around:
        return None
    if not words & here and not words & stems(" ".join(source.headings[-1:])):
        return None
    value = _nearest(sentence, own & here or words & here, of_dates=of_dates)
    if value is None:
        return None
    operand = Operand(name, _expression(value), sentence, source, _note(value))
    return _Candidate((covered, len(words & here) / len(words)), operand)


def _nearest(sentence: str, words: set[str], *, of_dates: bool) -> FoundDate | FoundQuantity | None:
    """The value that stands nearest to the words; one that follows them before one that precedes them."""
    values: Sequence[FoundDate | FoundQuantity]
    values = _dates(sentence) if of_dates else _amounts(sentence)
    places = [match.span() for match in WORD.finditer(sentence) if stems(match[0]) & words]

    def distance(value: FoundDate | FoundQuantity) -> int:
        after = [value.start - end for _, end in places if end <= value.start]
        before = [2 * (start - value.end) for start, _ in places if start >= value.end]
        return min([*after, *before], default=0)

    return min(values, key=distance, default=None)


def _dates(sentence: str) -> list[FoundDate]:
    found = find_dates(sentence, partial=True)
    exact = [each for each in found if each.precision == "day"]
    return exact or found


def _amounts(sentence: str) -> list[FoundQuantity]:
    """Amounts with a unit before plain numbers, years and percentages last."""
    found = find_quantities(sentence, bare=True)
    years = {(each.start, each.end) for each in find_dates(sentence, partial=True)}
    for wanted in (
        [each for each in found if each.unit not in ("", "%")],
        [each for each in found if not each.unit and (each.start, each.end) not in years],
        [each for each in found if each.unit == "%"],
    ):
        if wanted:
            return wanted
    return []


def _expression(value: FoundDate | FoundQuantity) -> str:
    if isinstance(value, FoundQuantity):
        return value.expression
    return str(value.date.year) if value.precision == "year" else value.date.isoformat()


def _note(value: FoundDate | FoundQuantity) -> str:
    if isinstance(value, FoundQuantity):
        return ""
    if value.precision == "day":
        return value.note
    return (
        f"{value.text} tells no day: counted from its start"
        if value.precision == "month"
        else f"{value.text} is a year only"
    )
