"""A request's JSON as a model, or an error that names the field, the value and the remedy."""

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ragents import errors
from ragents.deployment.http import UnsupportedMediaType, shown

M = TypeVar("M", bound=BaseModel)
UNION_TAGS = frozenset({"str", "int", "float", "bool"})


def parse(model: type[M], content_type: str, body: bytes) -> M:
    """The body as `model`; UnsupportedMediaType or InputError that names the field, the value and the remedy."""
    media_type = content_type.split(";", maxsplit=1)[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType(f"content-type = {media_type!r}: expected application/json")
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise errors.InputError(f"the body is not JSON: {error}", code="invalid_json") from None
    value = _clean(value)
    if not isinstance(value, dict):
        raise errors.InputError(f"the body is a JSON {type(value).__name__}; expected an object")
    return parse_value(model, value)


def parse_value(model: type[M], value: Mapping[str, Any], *, prefix: str = "") -> M:
    """A JSON object as `model`; InputError as above. `prefix` stands before the field's name."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _input_error(error, prefix) from None


def _input_error(error: ValidationError, prefix: str) -> errors.InputError:
    """The first problem; the rest would be noise to whoever mends one after the other."""
    problem = error.errors(include_url=False)[0]
    # For a value of several types pydantic adds the type it tried; the client has no such field.
    places = [part for part in problem["loc"] if part not in UNION_TAGS or "filters" not in problem["loc"]]
    name = ".".join(str(part) for part in (prefix, *places) if part != "") or "body"
    if problem["type"] == "missing":
        return errors.InputError(f"{name} is missing; it is required", field=name)
    if problem["type"] == "extra_forbidden":
        return errors.InputError(f"{name}: unknown field; remove it or check its spelling", field=name)
    message = problem["msg"].removeprefix("Value error, ")
    return errors.InputError(f"{name} = {shown(problem['input'])}: {message}", field=name)


def _refuse_constant(name: str) -> None:
    """Python's reader takes NaN and Infinity, which JSON does not have and no database compares."""
    raise ValueError(f"{name} is no JSON value")


def _clean(value: Any) -> Any:
    """JSON can spell what no database stores and no client can read back: NUL and lone surrogates."""
    match value:
        case str():
            return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
        case list():
            return [_clean(each) for each in value]
        case float() if not math.isfinite(value):
            raise errors.InputError("the body is not JSON: a number is beyond all bounds", code="invalid_json")
        case dict():
            return {_clean(key): _clean(each) for key, each in value.items()}
        case _:
            return value
