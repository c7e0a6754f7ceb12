"""The rules that read a question into a form, without a model. First match wins; a plain question is a lookup."""

import re
from collections.abc import Callable

from ragents.agents.computation import find_dates, find_quantities, is_calculation
from ragents.agents.logical.form import MAX_PARTS, Form, Known, Operation
from ragents.agents.logical.operands import literal_operand
from ragents.llm.passages import MARKER

MAX_QUESTION = 280
FILE = re.compile(
    r"[\w/.-]*\w\.(?:md|txt|pdf|docx?|pptx?|xlsx?|html?|csv|odt|ods|odp|rst|rtf|json|eml|epub)\b", re.IGNORECASE
)
NAMED_DOCUMENT = re.compile(
    r"\b(?:document|file|page|report)\s+(?:called |named |titled )?"
    r"(?:[\"“'‘«](?P<quoted>[^\"”'’»]{1,80})[\"”'’»]|"
    r"(?P<plain>(?!about\b|is\b|was\b|and\b|or\b)[\w.-]{1,60}(?: \d+)?)(?=\s*[?.,]|$))",
    re.IGNORECASE,
)
SAME_DOCUMENT = re.compile(
    r"\b(?:the|this|that|same) (?:same )?(?:document|file|page|report)\b|\bin it\b", re.IGNORECASE
)
LIMITED = re.compile(
    r"\s+(?:in|from|according to|within|of) (?P<name>(?:the |our |my )?[\w .\"'“”-]{2,80})$", re.IGNORECASE
)
CONSTRAINT = re.compile(r"\s+((?:in|before|after|since|until|during|as of) (?:[A-Z][a-z]+ )?(?:1\d|2[01])\d\d)$")
PRONOUN = re.compile(r"(?:it|that|this|them|these|those|the (?:sum|amount|number|result|value))", re.IGNORECASE)
THE_DATES = re.compile(
    r"(?:the |these |those |both |its )*(?:two |both )?dates?(?: given| named| mentioned)?", re.IGNORECASE
)

LEAD = re.compile(r"^(?:what is|what's|how much is|how many is|calculate|compute)\s+", re.IGNORECASE)
BETWEEN = re.compile(r"\bhow (?:many|much) (day|week|month|year)s?\b.*?\bbetween (.+)$", re.IGNORECASE)
FROM_TO = re.compile(
    r"\bhow (?:many|much) (day|week|month|year)s?\b.*?\bfrom (.+) (?:to|until|till) (.+)$", re.IGNORECASE
)
LONG = re.compile(r"\b(?:how long|how much time|what is the time)\b.*?\bbetween (.+)$", re.IGNORECASE)
PERCENT = re.compile(r"\b(\d{1,6}(?:\.\d{1,10})?) ?(?:%|percent|per cent) of (.+)$", re.IGNORECASE)
DIFFERENCE = re.compile(r"\bdifference (?:in \w+ )?between (.+)$", re.IGNORECASE)
SUM = re.compile(r"\b(?:sum|total) of (.+)$", re.IGNORECASE)
RATIO = re.compile(r"\bratio (?:of|between) (.+?) (?:to|and) (.+)$", re.IGNORECASE)
COMPARE = re.compile(r"^(?:please )?compare (.+)$", re.IGNORECASE)
LIST = re.compile(r"^(?:please )?(?:list|name all|enumerate|which|what are (?:all )?the)\b", re.IGNORECASE)
_MORE = "larger|bigger|greater|higher|more|longer|heavier|taller|faster|warmer|later|newer|younger|after|above"
_LESS = "smaller|less|lower|fewer|shorter|lighter|slower|colder|earlier|older|before|below"
DATED = {"later", "newer", "younger", "after", "earlier", "older", "before"}
_ADJECTIVE = f"{_MORE}|{_LESS}"
RELATED = re.compile(
    r"^(?:is|are|was|were|did|does|do|has|have) (?P<a>.+?) "
    rf"(?P<how>{_ADJECTIVE})(?: expensive| recent)?(?: than)? (?P<b>.+)$",
    re.IGNORECASE,
)
WHICH = re.compile(
    rf"\b(?:which|what)(?: of \w+)? (?:is|was|are|were|came|has) (?:the )?(?P<how>{_ADJECTIVE})\w*[,:]? (?P<both>.+)$",
    re.IGNORECASE,
)
PARTS = re.compile(
    r"\?\s+|;\s+|,? and (?=(?:what|when|who|whom|where|which|how|why|is|are|was|were|did|does)\b)", re.IGNORECASE
)


def form_of_rules(question: str, known: Known) -> Form:
    """Always a form; what it lacks is in `missing`."""
    text = " ".join(question.split())
    bare = text.rstrip("?!. ")
    if not bare:
        return Form(intent="lookup")  # the engine says that it is empty
    if len(text) > MAX_QUESTION:
        return Form(intent="lookup", sub_questions=(text[:MAX_QUESTION],))
    if is_calculation(bare):
        between = BETWEEN.search(bare)
        operation = _operation(between[1]) if between else None
        return Form(intent="compute", operation=operation, expression=LEAD.sub("", bare))
    for rule in RULES:
        if (form := rule(bare, known)) is not None:
            return form
    if LIST.match(bare):
        return Form(intent="list", sub_questions=(text,), document=document_in(bare))
    parts = [part.strip() for part in PARTS.split(text) if len(part.split()) > 1][:MAX_PARTS]
    return Form(intent="lookup", sub_questions=tuple(parts) or (text,), document=document_in(bare))


def document_in(text: str) -> str | None:
    """The document that is named as such: by a file's name, or after the word."""
    if file := FILE.search(text):
        return file[0]
    if named := NAMED_DOCUMENT.search(text):
        return named["quoted"] or named["plain"]
    return None


def _between(text: str, known: Known) -> Form | None:
    if match := BETWEEN.search(text):
        operation, rest = _operation(match[1]), match[2]
    elif match := FROM_TO.search(text):
        operation, rest = _operation(match[1]), f"{match[2]} and {match[3]}"
    elif match := LONG.search(text):
        operation, rest = "years_between", match[1]
    else:
        return None
    return between_form(operation, rest, text, known)


def between_form(operation: Operation, rest: str, text: str, known: Known) -> Form:
    values: dict[str, object] = {"intent": "compute", "operation": operation}
    dates = find_dates(text)
    if len(dates) == 2:
        unit = operation.partition("_")[0]
        return Form.model_validate({**values, "expression": f"{unit} between {dates[0].date} and {dates[1].date}"})
    body, maybe = _limited(rest)
    document = document_in(text) or (known.document if SAME_DOCUMENT.search(text) else None)
    if THE_DATES.fullmatch(body.strip()):
        if maybe and SAME_DOCUMENT.fullmatch(maybe):
            maybe = None
        document = document or maybe or known.document
        missing = () if document else ("document",)
        return Form.model_validate({**values, "document": document, "sub_questions": (text,), "missing": missing})
    return _pair("compute", operation, rest, text, of_dates=True)


def _percent(text: str, known: Known) -> Form | None:
    match = PERCENT.search(text)
    if match is None:
        return None
    percent, target = match[1], match[2]
    if PRONOUN.fullmatch(target):
        result = MARKER.sub("", known.last_answer.rpartition("\n")[2]).rpartition(" is ")[2]
        values = find_quantities(result, bare=True)
        if len({(each.value, each.unit) for each in values}) == 1:
            return Form(intent="compute", operation="percent_of", expression=f"{percent}% of {values[0].expression}")
        return Form(intent="compute", operation="percent_of", percent=percent, missing=("referent",))
    values = find_quantities(target, bare=True)
    if values and not re.sub(r"[\W_]|the", "", target.replace(values[0].text, "")):
        return Form(intent="compute", operation="percent_of", expression=f"{percent}% of {values[0].expression}")
    body, maybe = _limited(target)
    document = document_in(text)
    return Form(
        intent="compute",
        operation="percent_of",
        percent=percent,
        entities=(body,),
        document=document,
        maybe_document=None if document or CONSTRAINT.search(text) else maybe,
        sub_questions=(f"What is {target}?",),
    )


def _two_of_one_kind(text: str, _: Known) -> Form | None:
    if match := DIFFERENCE.search(text):
        return _pair("compute", "difference", match[1], text)
    if match := RATIO.search(text):
        return _pair("compute", "ratio", f"{match[1]} and {match[2]}", text)
    if match := SUM.search(text):
        return _pair("compute", "sum", match[1], text) if split_pair(match[1]) else None
    if match := COMPARE.match(text):
        return _pair("compare", None, match[1], text)
    return None


def _related(text: str, _: Known) -> Form | None:
    if match := RELATED.match(text):
        both = f"{match['a']} and {match['b']}"
    elif (match := WHICH.search(text)) and split_pair(match["both"]):
        both = match["both"]
    else:
        return None
    how = match["how"].lower()
    relation = ">" if how in _MORE.split("|") else "<"
    if how in ("older", "younger"):  # the older one has the earlier date
        relation = "<" if how == "older" else ">"
    return _pair("compare", "comparison", both, text, relation=relation, of_dates=how in DATED)


def _pair(intent: str, operation: Operation | None, both: str, text: str, **more: object) -> Form:
    """Two named things; a constraint or document after the second holds for both."""
    constraint = CONSTRAINT.search(both)
    both = both[: constraint.start()] if constraint else both
    document = document_in(text)
    if document:
        both = re.sub(rf"\s+(?:in|from|of|according to) (?:the )?(?:\w+ )?[\"“']?{re.escape(document)}.*$", "", both)
    entities = split_pair(both)
    values: dict[str, object] = {"intent": intent, "operation": operation, **more}
    if not entities:
        return Form.model_validate({**values, "document": document, "missing": ("things",), "sub_questions": (text,)})
    suffix = f" {constraint[1]}" if constraint else ""
    of_dates = bool(more.get("of_dates"))
    return Form.model_validate(
        {
            **values,
            "entities": entities,
            "document": document,
            "constraints": (constraint[1],) if constraint else (),
            "sub_questions": questions_about(entities, of_dates, suffix),
        }
    )


def questions_about(entities: tuple[str, ...], of_dates: bool, suffix: str = "") -> tuple[str, ...]:
    ask = "When was" if of_dates else "What is"
    named = [each for each in entities if literal_operand(each, of_dates=of_dates) is None]
    return tuple(f"{ask} {each}{suffix}?" for each in named)


def split_pair(both: str) -> tuple[str, ...]:
    """("A", "B") of "A and B", "A with B" or "A or B"; () when there are not two."""
    parts = re.split(r",? (?:and|or|with|to|versus|vs\.?) ", both.strip(" ?.,"), maxsplit=1)
    cleaned = tuple(part.strip(" ,\"“”'") for part in parts)
    return cleaned if len(cleaned) == 2 and all(cleaned) else ()


def _limited(text: str) -> tuple[str, str | None]:
    """("the budget", "the project plan") of "the budget in the project plan"."""
    match = LIMITED.search(text)
    return (text[: match.start()], match["name"].strip(" \"'“”")) if match else (text, None)


def _operation(unit: str) -> Operation:
    operations: dict[str, Operation] = {
        "day": "days_between",
        "week": "weeks_between",
        "month": "months_between",
        "year": "years_between",
    }
    return operations[unit.lower()]


RULES: tuple[Callable[[str, Known], Form | None], ...] = (_between, _percent, _two_of_one_kind, _related)
