"""The structured form of a question, and how a generative model fills one in."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ragents.agents.budget import Budget
from ragents.errors import ModelUnavailable
from ragents.llm.client import LLMClient
from ragents.rag.prompt import recent

log = logging.getLogger(__name__)

Intent = Literal["lookup", "compute", "compare", "list"]
Operation = Literal[
    "days_between",
    "weeks_between",
    "months_between",
    "years_between",
    "percent_of",
    "difference",
    "sum",
    "ratio",
    "comparison",
]
Missing = Literal["document", "dates", "referent", "things"]
BETWEEN: tuple[Operation, ...] = ("days_between", "weeks_between", "months_between", "years_between")
MAX_PARTS = 6
Phrase = Annotated[str, Field(min_length=1, max_length=300)]
JSON_OBJECT = re.compile(r"\{.*\}", re.DOTALL)

PROMPT = """\
You turn the user's last question into one JSON object and write nothing else. Its keys, all optional but intent:
- "intent": "lookup" | "list" | "compare" | "compute"
- "operation" (needed for compute): "days_between" | "weeks_between" | "months_between" | "years_between" |
  "percent_of" | "difference" | "sum" | "ratio" | "comparison"
- "entities": the things asked about; for an operation its operands in order, as noun phrases that name one value each
- "of_dates": true when the operands are dates
- "document": the name of the document the question is limited to, as the user wrote it
- "constraints": conditions that hold for all entities, such as "in 2021"
- "sub_questions": complete questions to search the documents with, one per entity or per part of the question
- "percent": for percent_of the number as text, such as "15"
- "relation": for comparison, the first entity relates to the second by ">", "<" or "=="
- "missing": what the user must still say: "document", "dates", "referent" (what "it" stands for) or "things"
Do not answer the question and do not calculate."""


class Form(BaseModel):
    """Plain JSON values, as the thread stores them. `expression` needs no source: its values are in the question."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    intent: Intent
    operation: Operation | None = None
    entities: tuple[Phrase, ...] = Field(default=(), max_length=MAX_PARTS)
    of_dates: bool = False
    document: Phrase | None = None
    maybe_document: Phrase | None = None
    """words after "in" that may name a document or be part of what is asked"""
    constraints: tuple[Phrase, ...] = Field(default=(), max_length=MAX_PARTS)
    sub_questions: tuple[Phrase, ...] = Field(default=(), max_length=MAX_PARTS)
    percent: str | None = Field(default=None, pattern=r"^\d{1,6}(\.\d{1,10})?$")
    relation: Literal[">", "<", "=="] | None = None
    expression: Phrase | None = None
    missing: tuple[Missing, ...] = ()

    @model_validator(mode="after")
    def _operands_fit(self) -> Self:
        if self.expression or self.missing or self.operation is None:
            return self
        if self.operation in BETWEEN and (len(self.entities) == 2 or (not self.entities and self.named_document)):
            return self
        if self.operation == "percent_of" and self.percent and len(self.entities) == 1:
            return self
        if self.operation in ("difference", "ratio") and len(self.entities) == 2:
            return self
        if self.operation == "comparison" and self.relation and len(self.entities) == 2:
            return self
        if self.operation == "sum" and len(self.entities) >= 2:
            return self
        raise ValueError(f"{self.operation} does not fit {len(self.entities)} entities")

    @property
    def named_document(self) -> str | None:
        return self.document or self.maybe_document

    @property
    def wants_dates(self) -> bool:
        return self.of_dates or self.operation in BETWEEN


@dataclass(frozen=True, slots=True)
class Known:
    """What the conversation tells: the last answer, and the one document that it cited (None for none or several)."""

    last_answer: str = ""
    document: str | None = None


async def form_of_model(
    question: str, *, llm: LLMClient, history: Sequence[BaseMessage], budget: Budget
) -> Form | None:
    """None when the model gives no form or no answer: computing needs no model, so the rules' form stands."""
    budget.check()
    asked = [SystemMessage(PROMPT), *recent(history), HumanMessage(question)]
    try:
        said = await llm.generate(asked, max_tokens=600, schema=Form)
    except ModelUnavailable as error:
        log.warning("the question is read by rules: %s", error)
        return None
    budget.charge(said.usage)
    found = JSON_OBJECT.search(said.message.text)
    if found is None:
        return None
    try:
        form = Form.model_validate_json(found[0])
    except ValidationError:
        return None
    return form if _is_said(form, question, history) else None


def _is_said(form: Form, question: str, history: Sequence[BaseMessage]) -> bool:
    """Numbers and documents must be the user's own: a model may not bring operands along."""
    said = " ".join([question, *(str(message.content) for message in recent(history))]).casefold()
    own = [form.percent, form.document, form.maybe_document]
    own += [digits for entity in form.entities for digits in re.findall(r"\d+", entity)]
    return form.expression is None and all(each is None or each.casefold() in said for each in own)
