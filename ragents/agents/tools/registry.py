"""Tools: all that an agent may call, and the one way in which they are run."""

import asyncio
import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from langchain_core.tools import StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import TypeAdapter, ValidationError

from ragents.agents.tools.builtin import builtin_tools
from ragents.agents.tools.ledger import Ledger
from ragents.agents.tools.types import Tool, ToolContext, ToolResult
from ragents.agents.types import ThreadKey
from ragents.errors import BackendUnavailable, InputError, NotFound
from ragents.llm.usage import estimate_tokens
from ragents.tracing import INPUT, OUTPUT, span, tell, tell_json

log = logging.getLogger(__name__)

RESULT: TypeAdapter[ToolResult] = TypeAdapter(ToolResult)
MAX_TEXT = 6_000
MAX_SOURCES = 20
MAX_ERRORS = 3
UNKNOWN_OUTCOME = (
    "{name} was begun before an interruption and whether it took effect is unknown. It was not run again. "
    "Say so, and do not assume either."
)


class Tools:
    """ValueError for two tools of one name, or a name that a model's provider would refuse."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools: dict[str, Tool] = {}
        for each in tools:
            if each.name in self._tools:
                raise ValueError(f"two tools are named {each.name!r}; give one of them another name")
            if not (each.name.isascii() and each.name.replace("-", "_").isidentifier() and len(each.name) <= 64):
                raise ValueError(f"tool name {each.name!r}: use at most 64 letters, digits, _ and -")
            self._tools[each.name] = each
        self.schemas: list[dict[str, Any]] = [_schema(each) for each in self._tools.values()]
        told = json.dumps(self.schemas, sort_keys=True)
        self.tokens = estimate_tokens(told)
        """what the schemas take of a prompt, estimated"""
        self.fingerprint = hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        """of all that a model is told of them"""

    def __contains__(self, name: str) -> bool:
        return name in self._tools

    @property
    def names(self) -> list[str]:
        return list(self._tools)

    @property
    def side_effects(self) -> bool:
        """Whether one of them changes something: an answer found with them is not to be served from a cache."""
        return any(each.side_effects for each in self._tools.values())

    def grounds(self, name: str, *, failed: bool) -> bool:
        """Whether an answer may rest on what this tool gave. That an effect failed, or may have, must be told too."""
        if name not in self._tools:
            return False
        return self._tools[name].side_effects if failed else self._tools[name].grounds

    async def run(
        self, name: str, arguments: object, *, context: ToolContext, ledger: Ledger, thread: ThreadKey, limit_s: float
    ) -> ToolResult:
        """What the tool gives, within bounds, or a failed result that tells the model what to do differently.

        Raised is only what ends a turn for every agent: BackendUnavailable, and NotFound of a collection.
        """
        if (chosen := self._tools.get(name)) is None:
            return _failed(f"there is no tool {name!r}; there are {', '.join(self._tools)}")
        attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
        with span(f"execute_tool {name}", attributes) as opened:
            tell_json(opened, INPUT, lambda: arguments)
            result = await self._run(chosen, arguments, context=context, ledger=ledger, thread=thread, limit_s=limit_s)
            opened.set_attribute("ragents.failed", result.failed)
            tell(opened, OUTPUT, lambda: result.text)
        return result

    async def _run(
        self,
        chosen: Tool,
        arguments: object,
        *,
        context: ToolContext,
        ledger: Ledger,
        thread: ThreadKey,
        limit_s: float,
    ) -> ToolResult:
        try:
            given = chosen.arguments.model_validate(arguments)
        except ValidationError as error:
            problems = _problems(error)
            return _failed(f"{chosen.name} was not run: {problems}; call it again with these arguments put right")
        timed = replace(chosen, timeout_s=min(chosen.timeout_s, limit_s))
        if not chosen.side_effects:
            return await _execute(timed, given, context)
        return await _at_most_once(timed, given, context, ledger, thread)


def create_tools(tools: Iterable[Tool] = ()) -> Tools:
    """The built-in tools and the user's own."""
    return Tools((*builtin_tools(), *tools))


async def _at_most_once(
    chosen: Tool, given: object, context: ToolContext, ledger: Ledger, thread: ThreadKey
) -> ToolResult:
    entry = await ledger.begin(thread, context.idempotency_key)
    if entry.state == "done" and entry.result is not None:
        return RESULT.validate_json(entry.result)
    if entry.state != "new":
        log.warning("tool %s: call %s was begun and never finished", chosen.name, context.idempotency_key)
        return _failed(UNKNOWN_OUTCOME.format(name=chosen.name))
    result = await _execute(chosen, given, context)
    try:
        await ledger.finish(thread, context.idempotency_key, RESULT.dump_json(result).decode())
    except BackendUnavailable:
        # The tool has run: losing its result with the turn would be worse. Without the entry a replay reads "started".
        log.exception("tool %s: the result of call %s is not in the ledger", chosen.name, context.idempotency_key)
    return result


async def _execute(chosen: Tool, given: object, context: ToolContext) -> ToolResult:
    maybe = "; it may have taken effect, so do not simply repeat it" if chosen.side_effects else ""
    try:
        async with asyncio.timeout(chosen.timeout_s) as limit:
            result = await chosen.run(given, context)
    except (InputError, NotFound) as error:
        if isinstance(error, NotFound) and error.kind == "collection":
            raise
        return _failed(f"{chosen.name}: {error}"[:MAX_TEXT])
    except Exception as error:  # a user's tool raises what it likes
        if isinstance(error, BackendUnavailable) and not chosen.side_effects:
            raise
        if isinstance(error, TimeoutError) and limit.expired():
            log.warning("tool %s took longer than %g s", chosen.name, chosen.timeout_s)
            return _failed(f"{chosen.name} took longer than {chosen.timeout_s:.3g} s and was stopped{maybe}")
        log.exception("tool %s failed", chosen.name)
        return _failed(f"{chosen.name} failed ({type(error).__name__}){maybe}")
    return _bounded(result if isinstance(result, ToolResult) else ToolResult(str(result)))


def _bounded(result: ToolResult) -> ToolResult:
    over = len(result.text) - MAX_TEXT
    text = result.text if over <= 0 else f"{result.text[:MAX_TEXT]}\n(cut: {over} more characters)"
    return replace(result, text=text, sources=result.sources[:MAX_SOURCES])


def _failed(text: str) -> ToolResult:
    return ToolResult(f"Error: {text}", failed=True)


def _problems(error: ValidationError) -> str:
    """Which fields and why, without the values: those are the model's own."""
    listed = [f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {each['msg']}" for each in error.errors()]
    more = [f"{len(listed) - MAX_ERRORS} more"] if len(listed) > MAX_ERRORS else []
    return "; ".join(listed[:MAX_ERRORS] + more)


def _schema(each: Tool) -> dict[str, Any]:
    described = StructuredTool(name=each.name, description=each.description, args_schema=each.arguments)
    return convert_to_openai_tool(described)
