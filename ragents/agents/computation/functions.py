"""The functions an expression may call. Sizes are checked before anything large is computed."""

from collections.abc import Callable, Sequence
from datetime import date
from fractions import Fraction
from math import ceil, factorial, floor

import sympy
from dateutil.relativedelta import relativedelta

from ragents.agents.computation.types import problem
from ragents.agents.computation.units import exact, quantity
from ragents.agents.computation.values import (
    MAX_BITS,
    Number,
    Period,
    Value,
    bits,
    bounded,
    compare,
    decimal,
    fraction,
    is_number,
    is_quantity,
    number,
    text_of,
)

MAX_ROOT_BITS = 256
"""sympy looks for the factors of what it takes a root of."""
MAX_POWER = 64
"""The exponent of a number that is no fraction, or that is no whole number itself."""
MAX_FACTORIAL = 300


def call(name: str, arguments: Sequence[Value]) -> Value:
    least, most, function = FUNCTIONS[name]
    if not least <= len(arguments) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise problem(f"{name} takes {wanted} values and got {len(arguments)}")
    return function(*arguments)


def power(base: Number, exponent: Number) -> Number:
    """base ** exponent, where its size is known to be bounded before it is computed."""
    if base.is_Rational and exponent.is_Integer:
        if base == 0 and exponent < 0:
            raise problem("it divides by zero; check the exponent")
        if base not in (0, 1, -1) and abs(int(exponent)) * (bits(fraction(base)) - 1) > MAX_BITS:
            raise problem(f"{_short(base)} ** {_short(exponent)} has too many digits; use smaller numbers")
        return bounded(base ** (int(exponent) % 2 if base in (1, -1) else exponent))
    if abs(decimal(exponent)) > MAX_POWER or (exponent.is_Rational and exponent.q > MAX_POWER):
        raise problem(f"the exponent {_short(exponent)} is too large here; use one of at most {MAX_POWER}")
    if decimal(base) < 0:
        raise problem(f"{_short(base)} ** {_short(exponent)} is no real number; use a positive base")
    _check_root(base)
    return bounded(base**exponent)


def _check_root(value: Number) -> None:
    if value.is_Rational and bits(fraction(value)) > MAX_ROOT_BITS:
        raise problem("a root or logarithm of a number with more than 77 digits; round it first")


def _sqrt(value: Value) -> Value:
    return power(_plain(value, "sqrt"), sympy.Rational(1, 2))


def _log(value: Value, base: Value | None = None) -> Value:
    plain = _plain(value, "log")
    if decimal(plain) <= 0:
        raise problem(f"the logarithm of {_short(plain)} does not exist; use a positive number")
    _check_root(plain)
    if base is None:
        return bounded(sympy.log(plain))
    plain_base = _plain(base, "log")
    if decimal(plain_base) <= 0 or plain_base == 1:
        raise problem(f"there is no logarithm to the base {_short(plain_base)}; use a positive one other than 1")
    _check_root(plain_base)
    return bounded(_log_exact(plain, plain_base) or sympy.log(plain) / sympy.log(plain_base))


def _log_exact(value: Number, base: Number) -> Number | None:
    """log(1000, 10) is 3: the nearest whole number, when its power is the value."""
    nearest = round(decimal(sympy.log(value) / sympy.log(base)))
    if value.is_Rational and base.is_Rational and abs(nearest) <= MAX_BITS and base**nearest == value:
        return sympy.Integer(nearest)
    return None


def _exp(value: Value) -> Value:
    return power(sympy.E, _plain(value, "exp"))


def _abs(value: Value) -> Value:
    if is_quantity(value):
        return exact(abs(value))
    return bounded(abs(_plain(value, "abs")))


def _whole(rounded: Callable[[Fraction], int]) -> Callable[[Value], Value]:
    def function(value: Value) -> Value:
        if is_quantity(value):
            return quantity(Fraction(rounded(value.magnitude)), value.units)
        return number(rounded(_near(_plain(value, "rounding"))))

    return function


def _round(value: Value, places: Value | None = None) -> Value:
    """To the nearest, halves to even, as Python and IEEE 754 do."""
    digits = 0 if places is None else int(fraction(_plain(places, "round")))
    if abs(digits) > 50:
        raise problem(f"round to {digits} places; use at most 50")
    if is_quantity(value):
        return quantity(Fraction(round(value.magnitude, digits)), value.units)
    return number(round(_near(_plain(value, "round")), digits))


def _near(value: Number) -> Fraction:
    """The fraction itself, or 60 digits of what is none."""
    if value.is_Rational:
        return fraction(value)
    if abs(decimal(value)) > 1e50:
        raise problem("it rounds a number of more than 50 digits; use smaller numbers")
    return Fraction(str(value.evalf(120, maxn=300)))


def _factorial(value: Value) -> Value:
    plain = _plain(value, "factorial")
    if not plain.is_Integer or not 0 <= plain <= MAX_FACTORIAL:
        raise problem(f"factorial takes whole numbers from 0 to {MAX_FACTORIAL}")
    return number(factorial(int(plain)))


def _least(*values: Value) -> Value:
    return _extreme(values, -1)


def _greatest(*values: Value) -> Value:
    return _extreme(values, 1)


def _extreme(values: Sequence[Value], sign: int) -> Value:
    best = values[0]
    for each in values[1:]:
        if order(each, best) == sign:
            best = each
    return best


def order(a: Value, b: Value) -> int:
    """-1, 0, 1; a problem for values that cannot be compared."""
    if isinstance(a, date) and isinstance(b, date):
        return (a > b) - (a < b)
    if is_number(a) and is_number(b):
        return compare(a, b)
    if is_quantity(a) and is_quantity(b) and a.is_compatible_with(b):
        return bool(a > b) - bool(a < b)
    raise problem(f"{text_of(a)} and {text_of(b)} cannot be compared; give both in the same kind of unit")


def _plain(value: Value, what: str) -> Number:
    if not is_number(value):
        raise problem(f"{what} takes a plain number and got {text_of(value)}; leave the unit out")
    return value


def _dates(a: Value, b: Value) -> tuple[date, date]:
    if not isinstance(a, date) or not isinstance(b, date):
        raise problem(f"{text_of(a)} and {text_of(b)} must both be dates; write them as 2021-03-31")
    return min(a, b), max(a, b)


def _days_between(a: Value, b: Value) -> Value:
    first, last = _dates(a, b)
    return quantity(Fraction((last - first).days), "day")


def _weeks_between(a: Value, b: Value) -> Value:
    first, last = _dates(a, b)
    weeks, days = divmod((last - first).days, 7)
    return _period(("week", weeks), ("day", days))


def _months_between(a: Value, b: Value) -> Value:
    first, last = _dates(a, b)
    passed = relativedelta(last, first)
    return _period(("month", passed.years * 12 + passed.months), ("day", passed.days))


def _years_between(a: Value, b: Value) -> Value:
    """Of dates to the day; of bare years (1998, 2004) by the calendar."""
    if is_number(a) and is_number(b) and a.is_Integer and b.is_Integer:
        return quantity(fraction(bounded(abs(b - a))), "year")
    first, last = _dates(a, b)
    passed = relativedelta(last, first)
    return _period(("year", passed.years), ("month", passed.months), ("day", passed.days))


def _age(born: Value, on: Value) -> Value:
    """In completed years."""
    first, last = _dates(born, on)
    if first != born:
        raise problem(f"{text_of(on)} is before the birth on {text_of(born)}; swap the dates")
    return quantity(Fraction(relativedelta(last, first).years), "year")


def _period(*parts: tuple[str, int]) -> Period:
    said = [f"{n} {unit}{'' if n == 1 else 's'}" for unit, n in parts if n] or [f"0 {parts[0][0]}s"]
    return Period(" and ".join([", ".join(said[:-1]), said[-1]]) if len(said) > 1 else said[0])


def _short(value: Number) -> str:
    text = text_of(value)
    shown = text if len(text) <= 30 else f"{text[:20]}..."
    return shown if shown.isalnum() else f"({shown})"


FUNCTIONS: dict[str, tuple[int, int, Callable[..., Value]]] = {
    "abs": (1, 1, _abs),
    "age": (2, 2, _age),
    "ceil": (1, 1, _whole(ceil)),
    "days_between": (2, 2, _days_between),
    "exp": (1, 1, _exp),
    "factorial": (1, 1, _factorial),
    "floor": (1, 1, _whole(floor)),
    "ln": (1, 1, _log),
    "log": (1, 2, _log),
    "log10": (1, 1, lambda value: _log(value, sympy.Integer(10))),
    "log2": (1, 1, lambda value: _log(value, sympy.Integer(2))),
    "max": (1, 20, _greatest),
    "min": (1, 20, _least),
    "months_between": (2, 2, _months_between),
    "round": (1, 2, _round),
    "sqrt": (1, 1, _sqrt),
    "weeks_between": (2, 2, _weeks_between),
    "years_between": (2, 2, _years_between),
}
"""Name -> least and most number of arguments, and the function. log and ln are natural, halves round to even."""
