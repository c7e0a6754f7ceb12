"""Tokens to Python source over placeholder names. The values themselves go into a table beside it."""

import re
from dataclasses import dataclass, field
from fractions import Fraction

import sympy

from ragents.agents.computation.functions import FUNCTIONS
from ragents.agents.computation.types import problem
from ragents.agents.computation.units import CURRENCIES, SCALES, quantity, unit_named
from ragents.agents.computation.values import Value, number

MAX_TOKENS = 120
MAX_DEPTH = 20
MAX_DIGITS = 50
MAX_EXPONENT = 300
CONSTANTS = {"pi": sympy.pi, "e": sympy.E}

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


class Emitter:
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
        return unit_named(token) if re.fullmatch(r"[^\W\d_]+\d?|°[CF]?|[€$£¥]", token) else None

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


def _literal(token: str) -> Fraction:
    mantissa, _, exponent = token.lower().partition("e")
    if len(mantissa) > MAX_DIGITS:
        raise problem(f"a number has {len(mantissa)} digits and {MAX_DIGITS} are allowed; round it")
    if exponent and abs(int(exponent[:6])) > MAX_EXPONENT:
        raise problem(f"the exponent of {token!r} is beyond {MAX_EXPONENT}; use smaller units")
    return Fraction(token)
