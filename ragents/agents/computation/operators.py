"""+ - * / // % ** between numbers, quantities and dates."""

from datetime import date, timedelta
from fractions import Fraction

import pint
import sympy
from dateutil.relativedelta import relativedelta

from ragents.agents.computation.functions import power
from ragents.agents.computation.types import problem
from ragents.agents.computation.units import Quantity, exact, quantity, single_name
from ragents.agents.computation.values import (
    MAX_BITS,
    Number,
    Value,
    bits,
    bounded,
    compare,
    fraction,
    is_number,
    is_quantity,
    number,
    text_of,
)

MAX_UNIT_POWER = 12
CALENDAR = {"day": "days", "week": "weeks", "month": "months", "year": "years"}


def operate(a: Value, sign: str, b: Value) -> Value:
    if isinstance(a, date) or isinstance(b, date):
        return _on_dates(a, sign, b)
    if is_number(a) and is_number(b):
        return _on_numbers(a, sign, b)
    if (is_number(a) or is_quantity(a)) and (is_number(b) or is_quantity(b)):
        return _on_quantities(a, sign, b)
    raise problem(f"{text_of(a)} {sign} {text_of(b)} has no meaning; calculate with numbers, quantities and dates")


def _on_numbers(a: Number, sign: str, b: Number) -> Number:
    if sign in ("/", "//", "%") and compare(b, sympy.Integer(0)) == 0:
        raise problem(f"it divides by zero ({text_of(a)} {sign} {text_of(b)}); check the divisor")
    match sign:
        case "+":
            return bounded(a + b)
        case "-":
            return bounded(a - b)
        case "*":
            return bounded(a * b)
        case "/":
            return bounded(a / b)
        case "**":
            return power(a, b)
        case "//":
            return number(fraction(a) // fraction(b))
        case _:
            return number(fraction(a) % fraction(b))


def _on_quantities(a: Value, sign: str, b: Value) -> Value:
    if sign == "*" and is_number(a) and b.magnitude == 1:  # "20 °C": pint multiplies no unit with an offset
        return _settled(quantity(fraction(a), b.units))
    left, right = _operand(a), _operand(b)
    if sign in ("+", "-") and is_number(a) != is_number(b):
        raise problem(f"{text_of(a)} {sign} {text_of(b)} mixes a plain number with a unit; give both a unit")
    try:
        match sign:
            case "**":
                return _raised(a, b)
            case "+":
                return _settled(left + right)
            case "-":
                return _settled(left - right)
            case "*":
                return _settled(left * right)
            case "/":
                return _settled(left / right)
    except ZeroDivisionError:
        raise problem(f"it divides by zero ({text_of(a)} / {text_of(b)}); check the divisor") from None
    except pint.DimensionalityError:
        raise problem(
            f"{text_of(a)} {sign} {text_of(b)}: the units measure different things; use ones that fit"
        ) from None
    except pint.OffsetUnitCalculusError:
        raise problem(f"{text_of(a)} {sign} {text_of(b)}: temperatures have no fixed zero; use kelvin") from None
    raise problem(f"{sign!r} takes plain numbers; leave the units out")


def _operand(value: Value) -> Value:
    return fraction(value) if is_number(value) else value


def _raised(a: Value, b: Value) -> Value:
    if not is_number(b) or not b.is_Integer or abs(int(b)) > MAX_UNIT_POWER:
        raise problem(f"a unit is raised to whole powers up to {MAX_UNIT_POWER} only, not to {text_of(b)}")
    if a.magnitude == 0 and b < 0:
        raise problem("it divides by zero; check the exponent")
    return _settled(a ** int(b))


def _settled(value: Quantity) -> Value:
    """Bounded, and a plain number when the units cancel."""
    found = exact(value)
    if bits(found.magnitude) > MAX_BITS:
        raise problem("a number gets more than 1200 digits; use smaller numbers or exponents")
    if found.units.dimensionless and (root := exact(found.to_root_units())).unitless:
        return number(root.magnitude)
    if not single_name(found.units) and found.check("[time]"):  # GWh/GW are hours
        return exact(found.to("hour"))
    return found


def _on_dates(a: Value, sign: str, b: Value) -> Value:
    if isinstance(a, date) and isinstance(b, date) and sign == "-":
        return quantity(Fraction((a - b).days), "day")
    if isinstance(b, date) and sign == "+":
        a, b = b, a
    if not isinstance(a, date) or not is_quantity(b) or sign not in ("+", "-"):
        raise problem(f"{text_of(a)} {sign} {text_of(b)} has no meaning; add days, weeks, months or years to a date")
    return _moved(a, b, 1 if sign == "+" else -1)


def _moved(start: date, by: Quantity, sign: int) -> date:
    """By the calendar: a month after 31 January is the last day of February."""
    if not by.check("[time]"):
        raise problem(f"{text_of(by)} is no time; add days, weeks, months or years to a date")
    unit = CALENDAR.get(single_name(by.units))
    if unit is None:
        by, unit = exact(by.to("day")), "days"
    if by.magnitude.denominator != 1:
        raise problem(f"{text_of(by)} is no whole number of {unit}; a date has no time of day")
    amount = sign * by.magnitude.numerator
    try:
        if unit in ("days", "weeks"):
            return start + timedelta(days=amount * (7 if unit == "weeks" else 1))
        return start + (relativedelta(years=amount) if unit == "years" else relativedelta(months=amount))
    except (OverflowError, ValueError):
        raise problem(
            f"{text_of(by)} from {start.isoformat()} leaves the years 1 to 9999; use a shorter time"
        ) from None


def negated(value: Value) -> Value:
    if is_quantity(value):
        return exact(-value)
    if is_number(value):
        return -value
    raise problem(f"-({text_of(value)}) has no meaning; put the sign before a number")
