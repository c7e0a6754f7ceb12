"""Filters on documents' metadata: what may be asked, checked once, with one meaning in every store.

A key with a value must equal it. A key with an object of operators must pass all of them:

    {"in": [...]}                              equals one of them
    {"ne": value}                              does not equal it, or is not there
    {"gt": x, "gte": x, "lt": x, "lte": x}     numbers by value, strings by code points (so ISO dates by time)
    {"exists": true | false}                   is there with a value other than null, or is not

Values equal as JSON does: 1 equals 1.0, true does not equal 1, "1" does not equal 1. An order holds between values of
one type only: "2024" is neither below nor above 2025.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeGuard, get_args

from ragents.errors import InputError
from ragents.rag.types import Metadata, Scalar

Operator = Literal["eq", "in", "ne", "gt", "gte", "lt", "lte", "exists"]
Condition = Mapping[str, Scalar | Sequence[Scalar]]
Filter = Scalar | Condition
Filters = Mapping[str, Filter]

MAX_CONDITIONS, MAX_LIST, MAX_KEY_BYTES, MAX_VALUE_BYTES = 32, 1_000, 200, 2_000
MAX_INTEGER = 2**63
OPERATORS = tuple(each for each in get_args(Operator) if each != "eq")
SIGNS = {"gt": (1,), "gte": (0, 1), "lt": (-1,), "lte": (-1, 0)}
"""What the sign of (found - asked) may be."""


@dataclass(frozen=True, slots=True)
class Check:
    """One operator on one key. `value` is a tuple for `in`, a bool for `exists`, else what is compared with."""

    key: str
    op: Operator
    value: Scalar | tuple[Scalar, ...]

    def holds(self, metadata: Metadata) -> bool:
        found = metadata.get(self.key)
        match self.op:
            case "exists":
                return (found is not None) == self.value
            case "ne":
                return found is None or not _equal(found, self.value)
            case "eq":
                return found is not None and _equal(found, self.value)
            case "in":
                return found is not None and any(_equal(found, each) for each in _many(self.value))
            case _:
                return _sign(found, self.value) in SIGNS[self.op]


def parse_filters(filters: Filters) -> tuple[Check, ...]:
    """The checks that must all hold. InputError, naming filters.KEY, for anything else than the above."""
    checks = tuple(check for key, asked in filters.items() for check in _checks(key, asked))
    if len(checks) > MAX_CONDITIONS:
        raise InputError(f"filters has {len(checks)} conditions; at most {MAX_CONDITIONS} are taken", field="filters")
    return checks


def matches(metadata: Metadata, filters: Filters) -> bool:
    """Whether a document with this metadata passes."""
    return all(check.holds(metadata) for check in parse_filters(filters))


def _checks(key: object, asked: object) -> list[Check]:
    if not isinstance(key, str) or not 0 < len(key.encode("utf-8", "replace")) <= MAX_KEY_BYTES:
        raise InputError(f"filters has the key {str(key)[:60]!r}; keys are 1 to {MAX_KEY_BYTES} bytes", field="filters")
    field = f"filters.{key}"
    if not isinstance(asked, Mapping):
        return [Check(_stored(key), "eq", _scalar(asked, field))]
    if not asked:
        raise InputError(f"{field} is an empty object; give a value, or one of {', '.join(OPERATORS)}", field=field)
    return [_check(key, str(op), value, field) for op, value in asked.items()]


def _check(key: str, op: str, value: object, field: str) -> Check:
    match op:
        case "in":
            if isinstance(value, str | Mapping) or not isinstance(value, Sequence) or len(value) > MAX_LIST:
                raise InputError(f"{field}.in is no list of at most {MAX_LIST} values", field=field)
            return Check(_stored(key), "in", tuple(_scalar(each, field) for each in value))
        case "exists":
            if not isinstance(value, bool):
                raise InputError(f"{field}.exists = {value!r}; give true or false", field=field)
            return Check(_stored(key), "exists", value)
        case "ne":
            return Check(_stored(key), "ne", _scalar(value, field))
        case "gt" | "gte" | "lt" | "lte":
            if isinstance(value, bool):
                raise InputError(f"{field}.{op} = {value!r}; order is between numbers or strings", field=field)
            return Check(_stored(key), op, _scalar(value, field))
        case _:
            raise InputError(
                f"{field} has the unknown operator {op[:60]!r}; there are: {', '.join(OPERATORS)}", field=field
            )


def _scalar(value: object, field: str) -> Scalar:
    """As it would be stored."""
    match value:
        case bool():
            return value
        case int() if abs(value) < MAX_INTEGER:
            return value
        case float() if math.isfinite(value):
            return value
        case str() if len(value.encode("utf-8", "replace")) <= MAX_VALUE_BYTES:
            return _stored(value)
        case str() | int() | float():
            raise InputError(
                f"{field} has a value out of bounds; strings up to {MAX_VALUE_BYTES} bytes, integers of 64 bits and "
                "finite numbers are taken",
                field=field,
            )
        case _:
            raise InputError(
                f"{field} has a value of type {type(value).__name__}; strings, numbers, true and false are taken",
                field=field,
            )


def _stored(text: str) -> str:
    """What a store keeps of a text: no NUL, no lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _equal(one: object, other: object) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _many(value: Scalar | tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    return value if isinstance(value, tuple) else (value,)


def _sign(one: object, other: object) -> int | None:
    """-1, 0 or 1; None between values that have no order."""
    if isinstance(one, str) and isinstance(other, str):
        return (one > other) - (one < other)
    if _number(one) and _number(other):
        return (one > other) - (one < other)
    return None


def _number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
