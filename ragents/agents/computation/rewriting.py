"""From what people write ("15% of 80", "3 km + 200 m in miles") to one Python expression over placeholder names.

The numbers, units and dates themselves go into a table: the text that is parsed holds names and operators only.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction

import sympy

from ragents.agents.computation.dates import ISO, find_dates
from ragents.agents.computation.functions import FUNCTIONS
from ragents.agents.computation.types import problem
from ragents.agents.computation.units import CURRENCIES, SCALES, quantity, unit_named
from ragents.agents.computation.values import Value, number

MAX_CHARACTERS = 300
MAX_TOKENS = 120
MAX_DEPTH = 20
MAX_DIGITS = 50
MAX_EXPONENT = 300
CONSTANTS = {"pi": sympy.pi, "e": sympy.E}

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
    (r"\bpercent\b|\bper cent\b", "%"),
)
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+(?!\w))?)|(?P<name>[^\W\d]\w*|_d\d+|[€$£¥]|°[CF]?)"
    r"|(?P<op>\*\*|//|<=|>=|==|!=|[-+*/%<>=(),^]))"
)
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?!\d)")


@dataclass(slots=True)
class Rewritten:
    """`source` is Python over `names`; `target` the unit expression to convert to ("" for none)."""

    text: str
    source: str = ""
    target: str = ""
    names: dict[str, Value] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def name(self, value: Value) -> str:
        name = f"_v{len(self.names)}"
        self.names[name] = value
        return name


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
    out.source = _Emitter(out).emit(body)
    out.target = _Emitter(out).emit(target) if target else ""
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
        out.names["_d999"] = today
        out.notes.append(f"today is {today.isoformat()}")
        worded = re.sub(r"\btoday\b", "_d999", worded, flags=re.IGNORECASE)
    return worded


def _split_target(text: str) -> tuple[str, str]:
    """("3 km + 200 m", "miles") for "3 km + 200 m in miles"; the last in/to before a unit counts."""
    match = re.fullmatch(r"(.*\S)\s+(?:in|to|as|into)\s+([^\W\d_°€$£¥]?.*)", text, re.IGNORECASE)
    if match is None or re.match(r"[\d_(]", match[2]):
        return text, ""
    return match[1], match[2]


class _Emitter:
    """Tokens in, Python source out. A number with its units is one operand: 60 km / 2 h is (60 km) / (2 h)."""

    def __init__(self, out: Rewritten) -> None:
        self.out = out

    def emit(self, text: str) -> str:
        self.tokens = self._tokens(text)
        self.position = 0
        parts: list[str] = []
        while self.position < len(self.tokens):
            parts.append(self._next(parts))
        return " ".join(parts)

    def _tokens(self, text: str) -> list[str]:
        tokens: list[str] = []
        stack: list[bool] = []  # of each open parenthesis: whether it holds a function's arguments
        position = 0
        while position < len(text.rstrip()):
            in_call = bool(stack) and stack[-1]
            thousands = None if in_call else _THOUSANDS.match(text, position)
            if thousands:
                text = text[:position] + thousands[0].replace(",", "") + text[thousands.end() :]
            found = _TOKEN.match(text, position)
            if found is None:
                raise problem(f"the character {text[position:].strip()[0]!r} has no meaning here; leave it out")
            token = found[0].strip()
            match token:
                case "(":
                    stack.append(bool(tokens) and tokens[-1].lower() in FUNCTIONS)
                case ")" if stack:
                    stack.pop()
                case "," if not in_call:
                    raise problem("a comma separates thousands (1,234) or arguments; write decimals as 0.5")
            tokens.append(token)
            position = found.end()
            while position < len(text) and text[position] == " ":
                position += 1
            if len(tokens) > MAX_TOKENS or len(stack) > MAX_DEPTH:
                raise problem(f"it has more than {MAX_TOKENS} parts or {MAX_DEPTH} levels; calculate it in parts")
        return tokens

    def _peek(self, ahead: int = 0) -> str:
        at = self.position + ahead
        return self.tokens[at] if at < len(self.tokens) else ""

    def _next(self, parts: list[str]) -> str:
        token = self._peek()
        if token in CURRENCIES or _is_number(token) or (_is_number(self._peek(1)) and self._unit(token) is not None):
            return self._operand(parts)
        self.position += 1
        if token.lower() == "of" and self._peek(-2) == "%":
            return "*"
        if token[0].isalpha() or token[0] in "_°":
            return self._word(token)
        return self._percent() if "%" in token else {"^": "**", "=": "=="}.get(token, token)

    def _operand(self, parts: list[str]) -> str:
        """Numbers with their units; "6 ft 2 in" is a sum."""
        sums = [self._measured()]
        while _is_number(self._peek()) and len(sums) < 5 and "*" in sums[-1]:
            sums.append(self._measured())
        if len(sums) == 1:
            return f"({sums[0]})"
        sign = parts[-1] if parts and parts[-1] in "+-" else None
        return f" {sign} ".join(sums) if sign else f"({' + '.join(sums)})"

    def _measured(self) -> str:
        factors = []
        if not _is_number(self._peek()):
            factors.append(self._unit_name(self._peek()))
            self.position += 1
        literal = self._peek()
        if not _is_number(literal):
            return factors[0]
        self.position += 1
        if self._peek() == "%" and self._percent_ends(1):
            self.position += 1
            return self.out.name(number(_literal(literal) / 100))
        value = _literal(literal)
        while self._peek().lower() in SCALES:
            value *= SCALES[self._peek().lower()]
            self.position += 1
        factors.insert(0, self.out.name(number(value)))
        while (unit := self._factor()) is not None:
            factors.append(unit)
        return "*".join(factors)

    def _factor(self) -> str | None:
        token = self._peek()
        if not token or token.lower() in CONSTANTS or self._calls(token) or self._unit(token) is None:
            return None
        self.position += 1
        name = self._unit_name(token)
        if self._peek() in ("**", "^") and re.fullmatch(r"\d", self._peek(1)):
            name = f"{name}**{self.out.name(number(Fraction(self._peek(1))))}"
            self.position += 2
        return name

    def _word(self, token: str) -> str:
        if token in self.out.names:
            return token
        low = token.lower()
        if low in FUNCTIONS and self._peek() == "(":
            return low
        if low in CONSTANTS:
            return self.out.name(CONSTANTS[low])
        if low in SCALES:
            return self.out.name(number(Fraction(SCALES[low])))
        if self._unit(token) is None:
            raise problem(f"{token!r} is no number, unit or function; functions are {', '.join(sorted(FUNCTIONS))}")
        return self._unit_name(token)

    def _calls(self, token: str) -> bool:
        """`min` before a parenthesis is the function, else minutes."""
        return token.lower() in FUNCTIONS and self._peek(1) == "("

    def _unit(self, token: str) -> object | None:
        return unit_named(_unit_spelling(token)) if re.fullmatch(r"[^\W\d_]+\d?|°[CF]?|[€$£¥]", token) else None

    def _unit_name(self, token: str) -> str:
        return self.out.name(quantity(Fraction(1), self._unit(token)))

    def _percent(self) -> str:
        """After a closing parenthesis or a name; a number's own percent is part of its operand."""
        if not self._percent_ends(0):
            return "%"
        return f"* {self.out.name(number(Fraction(1, 100)))}"

    def _percent_ends(self, ahead: int) -> bool:
        """Whether % is percent: what follows is no operand (15 % 4 is a remainder, 15 % of 4 is not)."""
        following = self._peek(ahead)
        return not (
            _is_number(following) or following == "(" or (following[:1].isalpha() and following.lower() != "of")
        )


def _is_number(token: str) -> bool:
    return bool(token) and (token[0].isdigit() or (token[0] == "." and len(token) > 1))


def _unit_spelling(token: str) -> str:
    return {"°C": "degC", "°F": "degF", "°": "degree"}.get(token, token)


def _literal(token: str) -> Fraction:
    mantissa, _, exponent = token.lower().partition("e")
    if len(mantissa) > MAX_DIGITS:
        raise problem(f"a number has {len(mantissa)} digits and {MAX_DIGITS} are allowed; round it")
    if exponent and abs(int(exponent[:6])) > MAX_EXPONENT:
        raise problem(f"the exponent of {token!r} is beyond {MAX_EXPONENT}; use smaller units")
    return Fraction(token)
