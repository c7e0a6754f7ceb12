"""What is asked back, and what a reply adds to the form."""

import re
from collections.abc import Sequence

from ragents.agents.computation import find_dates, find_quantities
from ragents.agents.logical.form import BETWEEN, Form, Known, Missing
from ragents.agents.logical.rules import document_in, form_of_rules, questions_about

QUESTIONS: dict[Missing, str] = {
    "document": "Which document do you mean? Please name it, or give the two dates.",
    "dates": "Which two dates do you mean?",
    "referent": "Of what? Please name the amount, or what the documents call it.",
    "things": "Which two things do you mean? Please name both, as in: A and B.",
}
ORDINALS = {"first": 0, "1st": 0, "second": 1, "2nd": 1, "third": 2, "3rd": 2, "last": -1}
LEAD = re.compile(r"^(?:i mean|it'?s|it is|in|the|of|from|document|file)\s+", re.IGNORECASE)


def question_for(missing: Sequence[Missing]) -> str:
    return " ".join(QUESTIONS[name] for name in missing)


def completed(form: Form, *, reply: str, missing: Missing, options: Sequence[str]) -> Form:
    """The form with what the reply tells; `missing` stays when it tells nothing of use."""
    text = " ".join(reply.split()).rstrip("?!. ")[:200]
    dates = find_dates(text)
    if form.operation in BETWEEN and len(dates) == 2:
        days = tuple(each.date.isoformat() for each in dates)
        if form.named_document:
            return _with(form, entities=days)  # the document's own, so that it is cited for them
        return _with(form, expression=f"{form.operation.partition('_')[0]} between {days[0]} and {days[1]}")
    match missing:
        case "document":
            chosen = _chosen(text, options)
            named = chosen[0] if chosen else document_in(text) or ("" if options else _stripped(text))
            return _with(form, document=named) if named else form
        case "dates":
            chosen = _chosen(text, options)
            return _with(form, entities=tuple(chosen)) if len(chosen) == 2 else form
        case "referent":
            return _of(form, text)
        case "things":
            return _about(form, form_of_rules(f"compare {text}", Known()))
    return form


def _about(form: Form, named: Form) -> Form:
    if not named.entities:
        return form
    return _with(
        form,
        entities=named.entities,
        document=named.document or form.document,
        constraints=named.constraints or form.constraints,
        sub_questions=questions_about(named.entities, form.of_dates),
    )


def _of(form: Form, text: str) -> Form:
    values = find_quantities(text, bare=True)
    if len(values) == 1 and not re.sub(r"\W|the", "", text.replace(values[0].text, "")):
        return _with(form, expression=f"{form.percent}% of {values[0].expression}")
    again = form_of_rules(f"What is {form.percent}% of {text}", Known())
    return again if not again.missing else form


def _chosen(text: str, options: Sequence[str]) -> list[str]:
    """The options that the reply names: in words, by part of the name, or as first, second, last."""
    low = text.casefold()
    words = re.findall(r"[\w-]+", low)
    places = [ORDINALS[word] for word in words if word in ORDINALS]
    places += [int(word) - 1 for word in words if word.isdigit() and 1 <= int(word) <= len(options)]
    chosen = [options[place] for place in places if -1 <= place < len(options)]
    named = [option for option in options if option.casefold() in low or (len(low) > 2 and low in option.casefold())]
    return list(dict.fromkeys(chosen or named))


def _stripped(text: str) -> str:
    while (shorter := LEAD.sub("", text)) != text:
        text = shorter
    return text.strip(" \"'“”")


def _with(form: Form, **values: object) -> Form:
    return Form.model_validate({**form.model_dump(), **values, "missing": ()})
