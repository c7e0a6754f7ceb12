"""LLMClient: a chat model with a deadline, fallbacks, and one kind of error."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage

from ragents.errors import ModelUnavailable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A chat model under the name that answers report, with the seconds one call may take."""

    name: str
    model: BaseChatModel
    timeout_s: float = 60.0


class LLMClient:
    """Asks the first model; when it fails, the next. Raises ModelUnavailable, naming each failure, when all have."""

    def __init__(self, models: Sequence[NamedModel]) -> None:
        if not models:
            raise ValueError("LLMClient needs at least one model")
        self.models = tuple(models)

    @classmethod
    def of(cls, model: BaseChatModel, *, name: str | None = None, timeout_s: float = 60.0) -> "LLMClient":
        """A client of one chat model that the caller made."""
        return cls([NamedModel(name or model._llm_type, model, timeout_s)])

    @property
    def name(self) -> str:
        return self.models[0].name

    @property
    def extractive(self) -> bool:
        """Whether answers are sentences of the sources instead of generated text."""
        return self.models[0].model._llm_type == "extractive"

    @property
    def calls_tools(self) -> bool:
        """Whether one of the models can be given tools."""
        return any(_binds_tools(each.model) for each in self.models)

    async def generate(
        self,
        messages: Sequence[BaseMessage],
        *,
        max_tokens: int | None = None,
        tools: Sequence[dict[str, Any]] = (),
    ) -> tuple[AIMessage, str]:
        """The answer and the name of the model that gave it. `tools`: schemas as OpenAI writes them.

        With tools, models that cannot be given any are passed over.
        """
        failures = []
        for each in self.models:
            if tools and not _binds_tools(each.model):
                failures.append(f"{each.name}: calls no tools")
                continue
            try:
                return await self._ask(each, messages, max_tokens, tools), each.name
            except asyncio.CancelledError:
                raise
            except Exception as error:  # providers raise what they like; it is named, logged and carried on
                log.warning("model %s failed: %s: %s", each.name, type(error).__name__, error)
                failures.append(f"{each.name}: {_reason(error)}")
        raise ModelUnavailable("; ".join(failures))

    async def _ask(
        self,
        named: NamedModel,
        messages: Sequence[BaseMessage],
        max_tokens: int | None,
        tools: Sequence[dict[str, Any]],
    ) -> AIMessage:
        arguments: dict[str, Any] = {} if max_tokens is None else {"max_tokens": max_tokens}
        async with asyncio.timeout(named.timeout_s):
            model = named.model.bind_tools(tools) if tools else named.model
            message = await model.ainvoke(list(messages), **arguments)
        if not isinstance(message, AIMessage):
            raise TypeError(f"the model answered with {type(message).__name__} instead of an AIMessage")
        return message


def _binds_tools(model: BaseChatModel) -> bool:
    return type(model).bind_tools is not BaseChatModel.bind_tools


def _reason(error: Exception) -> str:
    """For the caller: no address, key or body of the upstream server."""
    if isinstance(error, TimeoutError):
        return "timed out"
    status = getattr(error, "status_code", None)
    return f"answered with status {status}" if isinstance(status, int) else f"failed ({type(error).__name__})"
