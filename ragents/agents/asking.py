"""Questions that an agent puts to its model on the way to an answer, within the turn's budget."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeVar

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import PydanticOutputParser
from pydantic import BaseModel

from ragents.agents.budget import Budget
from ragents.errors import BudgetExceeded, ModelUnavailable
from ragents.llm.client import LLMClient
from ragents.llm.types import Usage

log = logging.getLogger(__name__)

CLOSING_SHARE, MAX_CLOSING_S = 0.1, 1.0
"""Of the turn's seconds, what is kept for the answer when a model takes all the others."""
Answer = TypeVar("Answer", bound=BaseModel)


def seconds_to_ask(budget: Budget) -> float:
    return max(0.0, budget.seconds_left - min(MAX_CLOSING_S, CLOSING_SHARE * budget.seconds))


async def ask_json(
    llm: LLMClient, messages: Sequence[BaseMessage], schema: type[Answer], *, budget: Budget
) -> tuple[Answer | None, Usage]:
    """The model's JSON, checked, and what it cost.

    None when rules must decide instead: there is no model that generates, it is down or answers in another form, or
    nothing is left to spend. The cost is charged; that it was too much is told to whoever checks the budget next.
    """
    if llm.extractive:
        return None, Usage()
    try:
        budget.check()
        async with asyncio.timeout(seconds_to_ask(budget)):
            said = await llm.generate(messages, schema=schema)
    except (BudgetExceeded, ModelUnavailable, TimeoutError) as error:
        log.info("%s is left to rules: %s", schema.__name__, error or "no time left")
        return None, Usage()
    with suppress(BudgetExceeded):
        budget.charge(said.usage)
    try:
        return PydanticOutputParser(pydantic_object=schema).parse(said.message.text), said.usage
    except OutputParserException:
        log.info("%s is left to rules: the model did not answer in its form", schema.__name__)
        return None, said.usage
