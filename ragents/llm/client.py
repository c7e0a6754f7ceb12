"""LLMClient: chat models with deadlines, retries, breakers, replicas and fallbacks, and one kind of error."""

import asyncio
import hashlib
import logging
import random
from asyncio import sleep as pause
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from pydantic import BaseModel

from ragents.errors import ModelUnavailable
from ragents.llm import create_named_model
from ragents.llm.calls import Call, binds_tools
from ragents.llm.endpoints import NamedModel
from ragents.llm.failures import CircuitOpen, Kind, PromptTooLong, kind_of, may_help, reason_of, retry_after_s
from ragents.llm.spans import called
from ragents.llm.types import EmbedTexts, Ending, ModelConfig, Usage
from ragents.llm.usage import estimate_prompt, usage_of

__all__ = ["Generated", "LLMClient", "NamedModel"]

log = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 8.0
"""Before a call is made again; doubled each time, and a random share of it is taken (full jitter)."""
OnFailure = Callable[[Kind], None]


class Generated(NamedTuple):
    """`model`: the name of the one that answered. `ending`: whether the message is whole."""

    message: AIMessage
    model: str
    usage: Usage
    ending: Ending = "stop"


class LLMClient:
    """Asks the first model; when it fails, the next. Raises ModelUnavailable, naming each failure, when all have.

    Made of settings (their fallbacks included; `embed` is needed for the extractive model alone), or of models.
    `on_failure` is told of every failed call, those that a retry or a fallback made good among them.
    """

    def __init__(
        self,
        models: ModelConfig | Sequence[NamedModel],
        *,
        embed: EmbedTexts | None = None,
        on_failure: OnFailure | None = None,
    ) -> None:
        if isinstance(models, ModelConfig):
            models = [create_named_model(each, embed=embed, at=at) for at, each in models.in_order]
        if not models:
            raise ValueError("LLMClient needs at least one model")
        self.models = tuple(models)
        self._on_failure = on_failure or (lambda _: None)

    @classmethod
    def of(cls, model: BaseChatModel, *, name: str | None = None, timeout_s: float = 60.0) -> "LLMClient":
        """A client of one chat model that the caller made."""
        told = hashlib.sha256(model._get_llm_string().encode()).hexdigest()[:16]  # LangChain's own key of its caches
        return cls([NamedModel(name or model._llm_type, model, timeout_s, fingerprint=told)])

    @property
    def name(self) -> str:
        return self.models[0].name

    @property
    def identity(self) -> list[str]:
        """Names and settings of the models: what a cached answer depends on."""
        return [f"{each.name}#{each.fingerprint}" for each in self.models]

    @property
    def extractive(self) -> bool:
        """Whether answers are sentences of the sources instead of generated text."""
        return self.models[0].extractive

    @property
    def calls_tools(self) -> bool:
        """Whether one of the models can be given tools."""
        return any(binds_tools(each.model) for each in self.models)

    def prompt_tokens(self, max_tokens: int | None = None) -> int | None:
        """What the first model's window leaves for the prompt of an answer of `max_tokens`; None without bound."""
        return self.models[0].prompt_tokens(max_tokens)

    async def generate(
        self,
        messages: Sequence[BaseMessage],
        *,
        max_tokens: int | None = None,
        tools: Sequence[dict[str, Any]] = (),
        schema: type[BaseModel] | None = None,
    ) -> Generated:
        """`tools`: schemas as OpenAI writes them. `schema`: of the JSON that is asked for; models that can be are held
        to it.

        With tools, models that cannot be given any are passed over, and so is one whose window the prompt does not fit.
        Once a token has come, a failure is final: what was said may have been shown.
        """
        failures = []
        for each in self.models:
            if tools and not binds_tools(each.model):
                failures.append(f"{each.name}: calls no tools")
                continue
            call = Call(each, messages, max_tokens=max_tokens, tools=tools, schema=schema)
            try:
                self._check_length(each, messages, max_tokens)
                return await self._with_retries(call, messages)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # providers raise what they like; it is named, logged and carried on
                failures.append(f"{each.name}: {reason_of(error)}")
                if call.said_something:
                    break
        raise ModelUnavailable("; ".join(failures))

    def _check_length(self, named: NamedModel, messages: Sequence[BaseMessage], max_tokens: int | None) -> None:
        room = named.prompt_tokens(max_tokens)
        if room is not None and (tokens := estimate_prompt(messages)) > room:
            self._on_failure("too_long")
            raise PromptTooLong(tokens, room)

    async def _with_retries(self, call: Call, messages: Sequence[BaseMessage]) -> Generated:
        failed: Exception | None = None
        for attempt in range(call.named.max_retries + 1):
            try:
                with called(call.named, messages) as told:
                    message, ending = await call.make()
                    usage = Usage() if call.named.extractive else usage_of(messages, message, price=call.named.price)
                    told(message, usage)
                return Generated(message, call.named.name, usage, ending)
            except CircuitOpen as error:
                self._on_failure(kind_of(error))
                raise (failed or error) from None  # what opened it just now says more
            except Exception as error:
                self._on_failure(kind_of(error))
                # What a server says may quote the prompt.
                log.warning("model %s failed: %s: %s", call.named.name, type(error).__name__, reason_of(error))
                if call.said_something or attempt == call.named.max_retries or not may_help(error):
                    raise
                failed = error
                asked = retry_after_s(error)
                await pause(_jittered(attempt) if asked is None else asked)
        raise AssertionError("the last attempt returns or raises")


def _jittered(attempt: int) -> float:
    return random.uniform(0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt))  # noqa: S311  # spreads calls, hides nothing
