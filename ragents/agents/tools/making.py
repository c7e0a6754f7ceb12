"""From a typed async function to a Tool."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from ragents.agents.tools.types import Tool, ToolContext, ToolResult

Function = Callable[..., Awaitable[str | ToolResult]]


def create_tool(
    function: Function,
    *,
    name: str | None = None,
    description: str | None = None,
    side_effects: bool = False,
    timeout_s: float = 20.0,
    grounds: bool = True,
) -> Tool:
    """The tool's name, description and arguments are the function's name, docstring and typed parameters.

    A parameter called `context` is given the ToolContext and is not shown to the model. Describe the others with
    `Annotated[str, Field(description=...)]`. ValueError for a function without docstring or types.
    """
    name = name or function.__name__
    description = description or inspect.getdoc(function) or ""
    if not description:
        raise ValueError(f"tool {name!r} has no docstring; the model chooses tools by their descriptions")
    if not inspect.iscoroutinefunction(function):
        raise ValueError(f"tool {name!r} is not async; write `async def`, and move what blocks to a thread")
    parameters = inspect.signature(function).parameters
    arguments = _arguments(name, function, [each for each in parameters.values() if each.name != "context"])

    async def run(given: BaseModel, context: ToolContext) -> str | ToolResult:
        values: dict[str, Any] = {field: getattr(given, field) for field in arguments.model_fields}
        return await function(**values, **({"context": context} if "context" in parameters else {}))

    return Tool(name, description, arguments, run, side_effects, timeout_s, grounds)


def tool(*, side_effects: bool = False, timeout_s: float = 20.0) -> Callable[[Function], Tool]:
    """`create_tool` as a decorator: `@tool(side_effects=True)` above an async function."""
    return lambda function: create_tool(function, side_effects=side_effects, timeout_s=timeout_s)


def _arguments(name: str, function: Function, parameters: list[inspect.Parameter]) -> type[BaseModel]:
    hints = get_type_hints(function, include_extras=True)
    if untyped := [each.name for each in parameters if each.name not in hints]:
        raise ValueError(f"tool {name!r}: give {', '.join(untyped)} a type; the model is told what to pass by it")
    fields: dict[str, Any] = {
        each.name: (hints[each.name], ... if each.default is each.empty else each.default) for each in parameters
    }
    return create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid"), **fields)
