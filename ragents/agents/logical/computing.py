"""From a form and sources to a computed result: which operands, which expression, which words."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ragents.agents.computation import Computed, calculate
from ragents.agents.logical.form import BETWEEN, Form, Missing
from ragents.agents.logical.operands import Operand, Rivals, dates_in, find_operand
from ragents.errors import InputError
from ragents.rag.types import Source

MAX_DATES_ASKED = 6
RELATIONS = {
    (">", False): "more than",
    ("<", False): "less than",
    ("==", False): "equal to",
    (">", True): "after",
    ("<", True): "before",
    ("==", True): "the same as",
}


@dataclass(frozen=True, slots=True)
class Worked:
    """What computing came to: a result, a question to ask back, or what the sources do not tell."""

    operands: tuple[Operand, ...] = ()
    computed: Computed | None = None
    absent: tuple[str, ...] = ()
    problem: str = ""
    notes: tuple[str, ...] = ()
    ask: str = ""
    missing: Missing | None = None
    options: tuple[str, ...] = ()


async def work(form: Form, sources: Sequence[Source], *, may_ask: bool) -> Worked:
    """Deterministic: equal form and sources, equal result."""
    if form.expression:
        return await _computed(form.expression, ())
    if form.operation in BETWEEN and not form.entities:
        return await _two_dates(form, sources, may_ask=may_ask)
    operands: list[Operand] = []
    absent: list[str] = []
    notes: list[str] = []
    for entity in form.entities:
        others = [other for other in form.entities if other != entity]
        found = await asyncio.to_thread(
            find_operand, _asked(entity, form), sources, of_dates=form.wants_dates, others=others
        )
        if isinstance(found, Rivals):
            if may_ask and (asked := _which_document(entity, found)):
                return asked
            notes.append(f"the sources tell different values of {entity}: the best source's was taken")
            found = found.operands[0]
        if found is None:
            absent.append(entity)
        else:
            operands.append(await asyncio.to_thread(_from_document, found, sources))
    if absent or not operands:
        return Worked(tuple(operands), absent=tuple(absent), notes=tuple(notes))
    return await _computed(expression_of(form, operands), operands, notes)


def expression_of(form: Form, operands: Sequence[Operand]) -> str:
    """As `calculate` reads it."""
    said = [each.expression for each in operands]
    match form.operation:
        case "percent_of":
            return f"{form.percent}% of {said[0]}"
        case "difference" if form.of_dates:
            first, second = (f"{each}-01-01" if _is_year(each) else each for each in said)
            return f"days between {first} and {second}"
        case "difference":
            return f"abs(({said[0]}) - ({said[1]}))"
        case "sum":
            return " + ".join(f"({each})" for each in said)
        case "ratio":
            return f"({said[0]}) / ({said[1]})"
        case "comparison":
            if form.of_dates and len({_is_year(each) for each in said}) > 1:
                said = [each[:4] for each in said]
            return f"{said[0]} {form.relation} {said[1]}"
    if form.operation == "years_between" and any(map(_is_year, said)):
        said = [each[:4] for each in said]
    else:
        said = [f"{each}-01-01" if _is_year(each) else each for each in said]
    return f"{(form.operation or '').partition('_')[0]} between {said[0]} and {said[1]}"


def _is_year(expression: str) -> bool:
    return len(expression) == 4


def conclusion(form: Form, computed: Computed) -> str:
    """The last step in words."""
    match form.operation:
        case "percent_of":
            percent, _, whole = computed.expression.partition("% of ")
            return f"{percent} % of {whole} is {computed.text}."
        case "difference" if not form.of_dates:
            return f"The difference is {computed.text}."
        case "sum":
            return f"Together they are {computed.text}."
        case "ratio":
            return f"The ratio is {computed.text}."
        case "comparison":
            a, relation, b = computed.expression.partition(f" {form.relation} ")
            said = RELATIONS[relation.strip(), form.of_dates]
            return f"Yes: {a} is {said} {b}." if computed.value == "true" else f"No: {a} is not {said} {b}."
        case None:
            return f"{computed.expression} = {computed.text}"
    return f"Between them lie {computed.text}."


async def _computed(expression: str, operands: Sequence[Operand], notes: Sequence[str] = ()) -> Worked:
    said = tuple(dict.fromkeys([*notes, *(each.note for each in operands if each.note)]))
    try:
        return Worked(tuple(operands), computed=await calculate(expression), notes=said)
    except InputError as error:
        return Worked(tuple(operands), problem=str(error), notes=said)


async def _two_dates(form: Form, sources: Sequence[Source], *, may_ask: bool) -> Worked:
    if len({source.document_id for source in sources}) > 1:
        return Worked(absent=("which of the documents is meant",))
    dates = await asyncio.to_thread(dates_in, sources)
    if len(dates) < 2:
        return Worked(tuple(dates), absent=("two dates",))
    chosen, notes = dates, []
    if len(dates) > 2:
        listed = ", ".join(each.expression for each in dates[:MAX_DATES_ASKED])
        more = f" and {len(dates) - MAX_DATES_ASKED} more" if len(dates) > MAX_DATES_ASKED else ""
        if may_ask:
            options = tuple(each.expression for each in dates[:MAX_DATES_ASKED])
            question = f"The document names {len(dates)} dates: {listed}{more}. Which two do you mean?"
            return Worked(ask=question, missing="dates", options=options)
        ordered = sorted(dates, key=lambda each: each.expression)
        chosen = [ordered[0], ordered[-1]]
        notes = [f"the document names {len(dates)} dates ({listed}{more}): the earliest and the latest were taken"]
    return await _computed(expression_of(form, chosen), chosen, notes)


def _asked(entity: str, form: Form) -> str:
    return " ".join((entity, *form.constraints))


def _which_document(entity: str, rivals: Rivals) -> Worked | None:
    """A question, where the values come from different documents."""
    uris = tuple(dict.fromkeys(each.source.uri for each in rivals.operands if each.source))
    if len(uris) < 2:
        return None
    listed = ", ".join(uris[:MAX_DATES_ASKED])
    question = f"More than one document tells of {entity}: {listed}. Which one do you mean?"
    return Worked(ask=question, missing="document", options=uris)


def _from_document(operand: Operand, sources: Sequence[Source]) -> Operand:
    """A date that the user named counts as the document's where the document names it too."""
    if operand.source is not None:
        return operand
    return next((each for each in dates_in(sources) if each.expression == operand.expression), operand)
