"""The walk over a parsed expression. Python's parser gives the tree; only the nodes named here mean anything."""

import ast
from collections.abc import Callable, Mapping

from ragents.agents.computation.functions import FUNCTIONS, call, order
from ragents.agents.computation.operators import negated, operate
from ragents.agents.computation.types import problem
from ragents.agents.computation.values import Value, is_number, is_quantity, text_of

MAX_STEPS = 30
OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
}
RELATIONS: dict[type[ast.cmpop], tuple[str, Callable[[int], bool]]] = {
    ast.Lt: ("<", lambda sign: sign < 0),
    ast.LtE: ("<=", lambda sign: sign <= 0),
    ast.Gt: (">", lambda sign: sign > 0),
    ast.GtE: (">=", lambda sign: sign >= 0),
    ast.Eq: ("==", lambda sign: sign == 0),
    ast.NotEq: ("!=", lambda sign: sign != 0),
}


def parse(source: str) -> ast.expr:
    """A problem for what is no expression. Its text holds no literals, so nothing large is made by parsing."""
    try:
        return ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise problem("an operator, a value or a parenthesis is missing; write something like (2 + 3) * 4") from None


class Walk:
    """Evaluates one tree and keeps its steps."""

    def __init__(self, names: Mapping[str, Value]) -> None:
        self.names = names
        self.steps: list[str] = []

    def value(self, node: ast.expr) -> Value:
        match node:
            case ast.Name(id=name) if name in self.names:
                return self.names[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return negated(self.value(operand))
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.value(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                return self._operation(self.value(left), OPERATORS[type(op)], self.value(right))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
                return self._called(name, [self.value(each) for each in args])
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                return self._compared(left, ops, comparators)
        raise problem("only + - * / // % **, comparisons and functions with values are calculated; write it with these")

    def _operation(self, a: Value, sign: str, b: Value) -> Value:
        result = operate(a, sign, b)
        if not _is_writing_of_unit(a, sign, b):
            self._note(f"{_operand(a)} {sign} {_operand(b)} = {text_of(result)}")
        return result

    def _called(self, name: str, arguments: list[Value]) -> Value:
        result = call(name, arguments)
        shown = f"{name}({', '.join(map(text_of, arguments))})"
        if shown != text_of(result):
            self._note(f"{shown} = {text_of(result)}")
        return result

    def _compared(self, left: ast.expr, ops: list[ast.cmpop], comparators: list[ast.expr]) -> bool:
        a, holds = self.value(left), True
        for op, comparator in zip(ops, comparators, strict=True):
            if type(op) not in RELATIONS:
                raise problem("values are compared with < <= > >= == !=; use one of these")
            sign, test = RELATIONS[type(op)]
            b = self.value(comparator)
            holds_here = test(order(a, b))
            self._note(f"{text_of(a)} {sign} {text_of(b)} is {text_of(holds_here)}")
            a, holds = b, holds and holds_here
        return holds

    def _note(self, step: str) -> None:
        if len(self.steps) < MAX_STEPS:
            self.steps.append(step if len(step) <= 300 else f"{step[:297]}...")


def _is_writing_of_unit(a: Value, sign: str, b: Value) -> bool:
    """3 km is 3 * (1 km) in the tree and no step to a reader."""
    return sign in ("*", "**") and is_quantity(b if sign == "*" else a) and _is_one(b if sign == "*" else a)


def _is_one(value: Value) -> bool:
    return bool(value.magnitude == 1)


def _operand(value: Value) -> str:
    text = text_of(value)
    if not is_number(value):
        return text
    return text if text.replace(".", "").isdigit() else f"({text})"
