"""calculate: one expression, exactly, off the event loop and within bounds."""

import asyncio
import re
from datetime import UTC, date, datetime

from ragents.agents.computation.evaluating import Walk, parse
from ragents.agents.computation.rewriting import TODAY, normalised, rewrite
from ragents.agents.computation.types import Computed, problem
from ragents.agents.computation.units import converted
from ragents.agents.computation.values import about, is_quantity, kind_of, text_of
from ragents.errors import InputError

OPERAND = re.compile(r"\(_v[\w*]*\)")
OPERATION = re.compile(r"[-+*/%<>=]|\w+ ?\(")


async def calculate(expression: str, *, timeout_s: float = 2.0, today: date | None = None) -> Computed:
    """Arithmetic, units, dates and comparisons: "15% of 80", "3 km + 200 m in miles", "2024-01-31 + 1 month".

    InputError that names the problem and a remedy. Sizes are bounded before anything is computed; the deadline is for
    a machine that stands still, since a thread cannot be ended. `today` is the UTC date unless given.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.to_thread(_calculate, expression, today or datetime.now(UTC).date())
    except ArithmeticError:  # of mpmath, at the edge of what it can tell from zero
        raise problem("a number gets too near to zero or too large to tell; use other units") from None
    except TimeoutError:
        raise problem(f"it took longer than {timeout_s:g} s; calculate it in parts") from None


def is_calculation(text: str) -> bool:
    """Whether `text` alone is something to calculate: every word is known, and there is an operation to do."""
    try:
        rewritten = rewrite(text, today=date(2000, 1, 1))
        parse(rewritten.source)
    except InputError:
        return False
    without_operands = OPERAND.sub("", rewritten.source)
    return bool(rewritten.names) and bool(rewritten.target or OPERATION.search(without_operands))


def _calculate(expression: str, today: date) -> Computed:
    rewritten = rewrite(expression, today=today)
    walk = Walk(rewritten.names)
    value = walk.value(parse(rewritten.source))
    if rewritten.target:
        target = walk.value(parse(rewritten.target))
        if not is_quantity(value) or not is_quantity(target):
            raise problem(f"{text_of(value)} cannot be given in {text_of(target)}; name a unit for a value with a unit")
        before, value = value, converted(value, target.units)
        walk.steps.append(f"{text_of(before)} = {text_of(value)}")
    steps = (*rewritten.notes, *walk.steps)
    of_today = TODAY in rewritten.names
    return Computed(normalised(expression), text_of(value), kind_of(value), steps, about(value), of_today)
