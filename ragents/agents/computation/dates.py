"""Dates in a text: found by their shape, read by dateparser.

ISO dates (2021-03-03) and dates with the month's name come first and are never in doubt. 03.04.2021 is day.month.year.
03/04/2021 could be either: day/month/year is assumed and `note` says so, unless a number above 12 settles it.
"""

import re
import threading
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Literal

import dateparser

Precision = Literal["day", "month", "year"]
LANGUAGES = ["en", "de", "fr", "es", "it", "nl", "pt"]
_lock = threading.Lock()
MAX_DATES = 500
"""Per text: dateparser takes about a millisecond for one."""

_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_YEAR = r"(?:1\d|20|21)\d\d"
_MONTH = r"[^\W\d_]{3,10}\.?"
ISO = re.compile(rf"(?<![\d.-])({_YEAR})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(?![\d-])(?:T[\d:.]+Z?)?")
NAMED = re.compile(
    rf"\b{_DAY}(?:st|nd|rd|th|\.|er|º)?\s+(?:of\s+|de\s+)?({_MONTH}),?\s+(?:de\s+)?{_YEAR}\b"
    rf"|\b({_MONTH})\s+{_DAY}(?:st|nd|rd|th)?(?:,\s*|\s+){_YEAR}\b",
    re.IGNORECASE,
)
NUMERIC = re.compile(rf"(?<![\d./-])(\d{{1,2}})([./])(\d{{1,2}})\2({_YEAR})(?![\d/]|\.\d)")
MONTH_YEAR = re.compile(rf"\b({_MONTH})\s+{_YEAR}\b", re.IGNORECASE)
YEAR = re.compile(rf"(?<![\w.,/€$£-]){_YEAR}(?![\w%€$£/-]|[.,]\d)")


@dataclass(frozen=True, slots=True)
class FoundDate:
    """text[start:end] names `date`. A month or year stands for its first day; `note` tells what was assumed."""

    start: int
    end: int
    text: str
    date: date
    precision: Precision = "day"
    note: str = ""


def find_dates(text: str, *, partial: bool = False) -> list[FoundDate]:
    """In order of appearance. `partial`: months ("March 2021") and bare years ("1998") too."""
    found: list[FoundDate] = []
    finders = [(ISO, _iso), (NAMED, _named), (NUMERIC, _numeric)]
    if partial:
        finders += [(MONTH_YEAR, _month), (YEAR, _year)]
    for pattern, read in finders:
        for match in pattern.finditer(text):
            if len(found) >= MAX_DATES:
                break
            if any(match.start() < each.end and each.start < match.end() for each in found):
                continue
            if (date_found := read(match)) is not None:
                found.append(date_found)
    return sorted(found, key=lambda each: each.start)


def _iso(match: re.Match[str]) -> FoundDate | None:
    return _dated(match, int(match[1]), int(match[2]), int(match[3]))


def _named(match: re.Match[str]) -> FoundDate | None:
    day = _parse(" ".join(match[0].split()))
    return FoundDate(match.start(), match.end(), match[0], day) if day else None


def _numeric(match: re.Match[str]) -> FoundDate | None:
    first, second, year = int(match[1]), int(match[3]), int(match[4])
    if match[2] == "." or first > 12:
        return _dated(match, year, second, first)
    if second > 12:
        return _dated(match, year, first, second)
    note = "" if first == second else f"{match[0]} was read as day/month/year"
    return _dated(match, year, second, first, note=note)


def _month(match: re.Match[str]) -> FoundDate | None:
    day = _parse(f"1 {' '.join(match[0].split())}")
    return FoundDate(match.start(), match.end(), match[0], day, "month") if day else None


def _year(match: re.Match[str]) -> FoundDate:
    return FoundDate(match.start(), match.end(), match[0], date(int(match[0]), 1, 1), "year")


def _dated(match: re.Match[str], year: int, month: int, day: int, *, note: str = "") -> FoundDate | None:
    try:
        return FoundDate(match.start(), match.end(), match[0], date(year, month, day), note=note)
    except ValueError:  # 31 February
        return None


@lru_cache(maxsize=2048)
def _parse(text: str) -> date | None:
    """dateparser, held to what stands there: it would fill a missing day with today's."""
    settings = {"STRICT_PARSING": True, "DATE_ORDER": "DMY", "PARSERS": ["absolute-time"]}
    with _lock:  # dateparser keeps its languages in globals
        parsed: datetime | None = dateparser.parse(text, languages=LANGUAGES, settings=settings)
    return parsed.date() if parsed else None
