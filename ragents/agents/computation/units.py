"""Units by pint, over exact fractions; currencies are units of their own that never mix."""

import threading
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any

import pint
from pint.util import to_units_container

from ragents.agents.computation.types import problem

CURRENCIES = {"€": "EUR", "$": "USD", "£": "GBP", "¥": "JPY"}
CURRENCY_CODES = ("EUR", "USD", "GBP", "JPY", "CHF", "SEK", "NOK", "DKK", "PLN", "CZK", "CAD", "AUD", "CNY", "INR")
CURRENCY_WORDS = {
    "euro": "EUR",
    "euros": "EUR",
    "dollar": "USD",
    "dollars": "USD",
    "pounds sterling": "GBP",
    "yen": "JPY",
    "francs": "CHF",
}
SPELLINGS = {"°C": "degC", "°F": "degF", "°": "degree", "KB": "kB"}
SCALES = {
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "millions": 10**6,
    "mio": 10**6,
    "billion": 10**9,
    "billions": 10**9,
    "bn": 10**9,
    "trillion": 10**12,
}
TIME_WORDS = ("second", "minute", "hour", "day", "week", "month", "year", "century")
_lock = threading.Lock()

Quantity = Any
"""pint.Quantity of Fraction magnitude: pint's own classes are generic per registry and cannot be named here."""


@cache
def _registry() -> Any:
    units: Any = pint.UnitRegistry(non_int_type=Fraction)
    for code in CURRENCY_CODES:
        units.define(f"{code} = [currency_{code}]")
    return units


def registry() -> Any:
    """The one registry (quantities of two do not mix); made on first use, which takes a fifth of a second."""
    with _lock:
        return _registry()


@lru_cache(maxsize=4096)
def unit_named(name: str) -> Any | None:
    """pint's unit of this name, words in any case; None for a word that is no unit, and for decibels and their like."""
    name = CURRENCY_WORDS.get(name.lower(), CURRENCIES.get(name, SPELLINGS.get(name, name)))
    for spelling in (name, name.lower()) if len(name) > 3 else (name,):  # Days is days, dB is no decibit
        try:
            unit = registry().Unit(spelling)
            registry().Quantity(Fraction(1), unit).to_root_units()
        except (pint.PintError, ValueError, AttributeError, TypeError):  # TypeError: logarithms of fractions
            continue
        return unit
    return None


def quantity(magnitude: Fraction, unit: Any) -> Quantity:
    return registry().Quantity(magnitude, unit)


def converted(value: Quantity, unit: Any) -> Quantity:
    try:
        return exact(value.to(unit))
    except (pint.DimensionalityError, pint.OffsetUnitCalculusError):
        raise problem(
            f"{unit_text(value)!r} cannot be given in {unit_label(unit)!r}; they measure different things"
        ) from None


def exact(value: Quantity) -> Quantity:
    """pint falls back to a float in a few conversions (temperatures); the fraction of its shortest text is meant."""
    magnitude = value.magnitude
    if isinstance(magnitude, float):
        magnitude = Fraction(repr(magnitude))
    return registry().Quantity(Fraction(magnitude), value.units)


def unit_text(value: Quantity) -> str:
    return unit_label(value.units, plural=abs(value.magnitude) != 1)


def unit_label(unit: Any, *, plural: bool = True) -> str:
    """Words for times ("days"), symbols for the rest ("km/h")."""
    name = single_name(unit)
    if name in TIME_WORDS:
        many = "centuries" if name == "century" else f"{name}s"
        return many if plural else name
    above: list[str] = []
    below: list[str] = []
    powers: dict[str, Any] = dict(to_units_container(unit).items())
    for part, power in powers.items():
        symbol = f"{registry().Unit(part):~}"
        (above if power > 0 else below).append(symbol if abs(power) == 1 else f"{symbol}^{abs(power)}")
    return "/".join(["·".join(above) or "1", *below]) if above or below else ""


def single_name(unit: Any) -> str:
    """pint's long name of a unit that stands alone ("day"); "" for a compound (str() fails on fractional powers)."""
    parts = list(to_units_container(unit).items())
    return str(parts[0][0]) if len(parts) == 1 and parts[0][1] == 1 else ""
