"""Numbers with their units in a text: "€1.2 million", "3,000 km", "15 %"."""

import re
from dataclasses import dataclass
from fractions import Fraction

from ragents.agents.computation.dates import find_dates
from ragents.agents.computation.units import CURRENCIES, CURRENCY_CODES, CURRENCY_WORDS, SCALES
from ragents.agents.computation.values import fraction_text

# Named here and not left to pint, which takes "in", "at", "as" and "a" for units too.
UNITS = (
    "mm cm dm m km metre metres meter meters kilometre kilometres kilometer kilometers mile miles foot feet ft "
    "inch inches yard yards mg g kg t gram grams kilogram kilograms tonne tonnes ton tons lb lbs pound pounds ml "
    "l litre litres liter liters gallon gallons ha hectare hectares acre acres ms s second seconds min minute "
    "minutes h hour hours day days week weeks month months year years bit bits byte bytes kB KB MB GB TB PB KiB "
    "MiB GiB TiB Hz kHz MHz GHz W kW MW GW Wh kWh MWh GWh J kJ MJ V mV A mA K °C °F bar hPa Pa kPa mol km/h m/s "
    "mph kg/m3 degree degrees"
)
_NUMBER = r"[-−]?(?:\d{1,3}(?:,\d{3})+|\d{1,20})(?:\.\d{1,20})?"
_SCALE = "|".join(sorted(SCALES, key=len, reverse=True))
_SYMBOL = "|".join(re.escape(symbol) for symbol in CURRENCIES)
_CODE = "|".join(CURRENCY_CODES)
_UNIT = "|".join(
    re.escape(unit) for unit in sorted({*UNITS.split(), *CURRENCY_CODES, *CURRENCY_WORDS}, key=len, reverse=True)
)
PREFIXED = re.compile(
    rf"(?:(?P<symbol>{_SYMBOL})|\b(?P<code>{_CODE}))\s?(?P<number>{_NUMBER})"
    rf"(?:\s?(?P<scale>(?i:{_SCALE})|[mMkK])\b)?"
)
SUFFIXED = re.compile(
    rf"(?<![\w.,/])(?P<number>{_NUMBER})(?:[\s-]?(?P<scale>(?i:{_SCALE}))\b)?"
    rf"(?:[\s-]?(?P<unit>(?:{_UNIT})(?![\w/])|%|percent\b|{_SYMBOL}))?(?![\w])"
)
SHORT_SCALES = {"k": 10**3, "m": 10**6}
MAX_QUANTITIES = 500


@dataclass(frozen=True, slots=True)
class FoundQuantity:
    """text[start:end] says `value` of `unit` ("" for a plain number; scale words are in the value)."""

    start: int
    end: int
    text: str
    value: Fraction
    unit: str = ""

    @property
    def expression(self) -> str:
        """As `calculate` reads it."""
        number = fraction_text(self.value)
        return f"{number}%" if self.unit == "%" else f"{number} {self.unit}".strip()


def find_quantities(text: str, *, bare: bool = False) -> list[FoundQuantity]:
    """In order of appearance; `bare`: plain numbers too. What belongs to a date is none."""
    dates = [(each.start, each.end) for each in find_dates(text)]
    found: list[FoundQuantity] = []
    for pattern in (PREFIXED, SUFFIXED):
        for match in pattern.finditer(text):
            if len(found) >= MAX_QUANTITIES:
                break
            taken = [*dates, *((each.start, each.end) for each in found)]
            if any(match.start() < end and start < match.end() for start, end in taken):
                continue
            each = _read(match)
            if each.unit or bare:
                found.append(each)
    return sorted(found, key=lambda each: each.start)


def _read(match: re.Match[str]) -> FoundQuantity:
    groups = match.groupdict()
    value = Fraction(groups["number"].replace(",", "").replace("−", "-"))
    if scale := groups["scale"]:
        value *= SCALES.get(scale.lower()) or SHORT_SCALES[scale.lower()]
    unit = groups.get("symbol") or groups.get("code") or groups.get("unit") or ""
    unit = "%" if unit == "percent" else CURRENCIES.get(unit) or CURRENCY_WORDS.get(unit, unit)
    return FoundQuantity(match.start(), match.end(), match[0], value, unit)
