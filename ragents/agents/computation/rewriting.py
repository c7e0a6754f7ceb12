"""From what people write ("15% of 80", "3 km + 200 m in miles") to one Python expression over placeholder names.

The numbers, units and dates themselves go into a table: the text that is parsed holds names and operators only.
"""

import re
import unicodedata
from datetime import date

from ragents.agents.computation.dates import ISO, find_dates
from ragents.agents.computation.emitting import Emitter, Rewritten
from ragents.agents.computation.types import problem

MAX_CHARACTERS = 300
TODAY = "_d999"
"""The name that "today" has in the table; the dates of one text are fewer."""

_SPELLED = {"×": "*", "÷": "/", "·": "*", "−": "-", "–": "-", "²": "**2", "³": "**3", "≤": "<=", "≥": ">=", "≠": "!="}
_D = r"(_d\d+|\b\d{4}\b)"
_PHRASES: tuple[tuple[str, str], ...] = (
    (r"^(?:what is|what's|calculate|compute|how much is|how many is)\s+", ""),
    (rf"\b(day|week|month|year)s?\b[\w\s]{{0,30}}?\bbetween {_D} and {_D}", r"\1s_between(\2, \3)"),
    (rf"\b(day|week|month|year)s? from {_D} (?:to|until|till) {_D}", r"\1s_between(\2, \3)"),
    (r"^how many (?=\w+s_between)", ""),
    (rf"\b(?:the )?age\b[\w\s]{{0,40}}?\bborn (?:on |in )?{_D},? (?:on|at|as of|in|by) {_D}", r"age(\1, \2)"),
    (rf"(\d+) (day|week|month|year)s? before {_D}", r"\3 - \1 \2"),
    (rf"(\d+) (day|week|month|year)s? (?:after|from) {_D}", r"\3 + \1 \2"),
    (r"\b(?:is |are )?(?:greater|larger|bigger|more|longer|higher|later|newer) than\b", ">"),
    (r"\b(?:is |are )?(?:less|smaller|fewer|shorter|lower|earlier|older) than\b", "<"),
    (r"\b(?:is |are )?(?:equal to|the same as|equals)(?!\w)", "=="),
    (r"\b(?:is |are )?at least\b", ">="),
    (r"\b(?:is |are )?at most\b", "<="),
    (r"\b(?:is )?(?:before|below)\b", "<"),
    (r"\b(?:is )?(?:after|above)\b", ">"),
    (r"\b(?:multiplied by|times)\b", "*"),
    (r"\b(?:divided by|per|over)\b", "/"),
    (r"\bto the power of\b", "**"),
    (r"\bplus\b", "+"),
    (r"\bminus\b", "-"),
    (r"\b([mcdk]?m|ft|s)([23])\b", r"\1**\2"),  # m3
    (r"\bpercent\b|\bper cent\b", "%"),
)


def rewrite(expression: str, *, today: date) -> Rewritten:
    """InputError for what is too long, too deep or holds a word that is neither unit nor function."""
    if len(expression) > MAX_CHARACTERS:
        raise problem(f"it has {len(expression)} characters and {MAX_CHARACTERS} are allowed; calculate it in parts")
    text = normalised(expression)
    if not text:
        raise problem("it is empty; write something like '15% of 80'")
    out = Rewritten(text)
    worded = _with_dates_named(text, out, today)
    for pattern, replacement in _PHRASES:
        worded = re.sub(pattern, replacement, worded, flags=re.IGNORECASE)
    body, target = _split_target(worded)
    out.source = Emitter(out).emit(body)
    out.target = Emitter(out).emit(target) if target else ""
    return out


def normalised(expression: str) -> str:
    for character, spelled in _SPELLED.items():
        expression = expression.replace(character, spelled)
    return " ".join(unicodedata.normalize("NFKC", expression).split()).rstrip("?=. ")


def _with_dates_named(text: str, out: Rewritten, today: date) -> str:
    parts, end = [], 0
    for n, found in enumerate(find_dates(text)):
        out.names[f"_d{n}"] = found.date
        out.notes += [found.note] if found.note else []
        parts += [text[end : found.start], f"_d{n}"]
        end = found.end
    worded = "".join([*parts, text[end:]])
    if no_date := ISO.search(worded):
        raise problem(f"{no_date[0]} is no day of the calendar; correct it, or put spaces around a minus")
    if re.search(r"\btoday\b", worded, re.IGNORECASE):
        out.names[TODAY] = today
        out.notes.append(f"today is {today.isoformat()}")
        worded = re.sub(r"\btoday\b", TODAY, worded, flags=re.IGNORECASE)
    return worded


def _split_target(text: str) -> tuple[str, str]:
    """("3 km + 200 m", "miles") for "3 km + 200 m in miles"; the last in/to before a unit counts."""
    match = re.fullmatch(r"(.*\S)\s+(?:in|to|as|into)\s+([^\W\d_°€$£¥]?.*)", text, re.IGNORECASE)
    if match is None or re.match(r"[\d_(]", match[2]):
        return text, ""
    return match[1], match[2]
