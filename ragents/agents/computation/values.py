"""The values of a computation: exact numbers (sympy), quantities (pint), dates, truths. Bounds are checked here."""

from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Any

import sympy

from ragents.agents.computation.types import Kind, problem
from ragents.agents.computation.units import registry, unit_text

MAX_BITS = 4096
"""Of numerator and denominator: about 1200 digits, which every operation handles in microseconds."""
MAX_OPERATIONS = 60
"""In an expression that is no fraction, such as sqrt(2) + log(3)."""
MAX_MAGNITUDE = 1e300
DIGITS_SHOWN = 40
ZERO = 1e-40


@dataclass(frozen=True, slots=True)
class Period:
    """Calendar time between two dates, as people say it: "3 years, 10 months and 2 days"."""

    text: str


Number = Any
"""A sympy.Expr: a Rational, or an expression such as sqrt(2). sympy carries no types."""
Value = Any
"""Number, Quantity, date, bool or Period: told apart at run time, since the first two have no static type."""


def number(value: Fraction | int) -> Number:
    fraction = Fraction(value)
    return bounded(sympy.Rational(fraction.numerator, fraction.denominator))


def is_number(value: Value) -> bool:
    return isinstance(value, sympy.Expr)


def is_quantity(value: Value) -> bool:
    return isinstance(value, registry().Quantity)


def fraction(value: Number) -> Fraction:
    """Of a rational number; a problem for sqrt(2)."""
    if not value.is_Rational:
        raise problem(f"{sympy.sstr(value)} is no exact fraction and cannot have a unit; round it first")
    return Fraction(int(value.p), int(value.q))


def bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def bounded(value: Number) -> Number:
    """The number, or a problem when it is none, is not real or too large to go on with."""
    if value.is_Rational:
        if max(int(value.p).bit_length(), int(value.q).bit_length()) > MAX_BITS:
            raise problem("a number gets more than 1200 digits; use smaller numbers or exponents")
        return value
    if sympy.count_ops(value) > MAX_OPERATIONS:
        raise problem("it has too many roots and logarithms; calculate it in parts")
    if not 1 / MAX_MAGNITUDE < abs(decimal(value)) < MAX_MAGNITUDE:
        raise problem("a number is too large or too small; use other units")
    return value


def decimal(value: Number, digits: int = 15) -> float:
    """About how much; a problem for what is not real, such as sqrt(-1)."""
    found = value.evalf(digits, maxn=200)
    if not found.is_Float and not found.is_Rational:
        raise problem(f"{sympy.sstr(value)} is no real number; check roots, logarithms and divisions by zero")
    try:
        return float(found)
    except OverflowError:
        return float("inf")


def compare(a: Number, b: Number) -> int:
    """-1, 0 or 1. Numbers that are no fractions count as equal when 40 digits agree."""
    difference = a - b
    if difference.is_Rational:
        return (int(difference.p) > 0) - (int(difference.p) < 0)
    found = decimal(difference, 50)
    return 0 if abs(found) < ZERO else (found > 0) - (found < 0)


def kind_of(value: Value) -> Kind:
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, date):
        return "date"
    if isinstance(value, Period):
        return "duration"
    if is_number(value):
        return "number"
    return "duration" if value.check("[time]") else "quantity"


def text_of(value: Value) -> str:
    """Exact."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Period):
        return value.text
    if is_number(value):
        return fraction_text(fraction(value)) if value.is_Rational else str(sympy.sstr(value))
    return f"{fraction_text(value.magnitude)} {unit_text(value)}".strip()


def about(value: Value) -> str:
    """A decimal of 12 digits where the exact text has none; else ""."""
    if is_number(value) and not value.is_Rational:
        return f"{decimal(value):.12g}"
    if is_number(value) and "/" in text_of(value):
        return _decimal_text(fraction(value))
    if is_quantity(value) and "/" in fraction_text(value.magnitude):
        return f"{_decimal_text(value.magnitude)} {unit_text(value)}"
    return ""


def _decimal_text(value: Fraction) -> str:
    return str(sympy.Rational(value.numerator, value.denominator).evalf(12)).rstrip("0").rstrip(".")


def fraction_text(value: Fraction) -> str:
    """A decimal where it ends within 40 places, else p/q."""
    rest, places = value.denominator, 0
    for prime in (2, 5):
        power = 0
        while rest % prime == 0:
            rest, power = rest // prime, power + 1
        places = max(places, power)
    if value.denominator == 1:
        return str(value.numerator)
    if rest != 1 or places > DIGITS_SHOWN:
        return str(value)
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"
