"""One question to one model: in pieces for a reader, else whole; with a time for the first piece and one for all."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    InvalidToolCall,
    ToolCall,
    ToolCallChunk,
    message_chunk_to_message,
)
from langchain_core.messages.ai import add_ai_message_chunks
from pydantic import BaseModel

from ragents import tracing
from ragents.llm.asked import READ_ALONG
from ragents.llm.endings import ending_of
from ragents.llm.endpoints import NamedModel, Replica
from ragents.llm.failures import FirstTokenTimeout, NoAnswer
from ragents.llm.types import Ending


class Call:
    """May be made again after a failure, at another replica where there is one, until `said_something`."""

    def __init__(
        self,
        named: NamedModel,
        messages: Sequence[BaseMessage],
        *,
        max_tokens: int | None,
        tools: Sequence[dict[str, Any]],
        schema: type[BaseModel] | None,
    ) -> None:
        self.named = named
        self.said_something = False
        self._messages, self._tools = list(messages), tools
        self._arguments = named.arguments(max_tokens=max_tokens, schema=schema)
        self._last: Replica | None = None

    async def make(self) -> tuple[AIMessage, Ending]:
        """Raises CircuitOpen, TimeoutError, Unfinished, NoAnswer, and what the provider's library raises."""
        self._last = replica = self.named.next(but=self._last)
        headers = tracing.headers() if self.named.takes_headers else {}
        arguments = {**self._arguments, "extra_headers": headers} if headers else self._arguments
        with replica.call() as model:
            ask = self._in_pieces if READ_ALONG.get() else self._whole
            async with asyncio.timeout(self.named.timeout_s):
                message, ending = await ask(model.bind_tools(self._tools) if self._tools else model, arguments)
        # A call of a tool that nobody offered is run by nobody, and says nothing.
        called = self._tools and (message.tool_calls or message.invalid_tool_calls)
        if not (message.text.strip() or called):
            raise NoAnswer
        return message, ending

    async def _whole(self, model: Any, arguments: dict[str, Any]) -> tuple[AIMessage, Ending]:
        message = await model.ainvoke(self._messages, **arguments)
        if not isinstance(message, AIMessage):
            raise TypeError(f"the model answered with {type(message).__name__} instead of an AIMessage")
        return message, ending_of([message], told=False)

    async def _in_pieces(self, model: Any, arguments: dict[str, Any]) -> tuple[AIMessage, Ending]:
        pieces = list[AIMessageChunk]()
        chunks = model.astream(self._messages, **arguments)
        try:
            while (chunk := await self._next(chunks, first=not pieces)) is not None:
                if isinstance(chunk, AIMessage) and not isinstance(chunk, AIMessageChunk):
                    return chunk, ending_of([chunk], told=False)  # of a model that does not stream
                if not isinstance(chunk, AIMessageChunk):
                    raise TypeError(f"the model answered with {type(chunk).__name__} instead of an AIMessage")
                pieces.append(chunk)
                self.said_something = self.said_something or bool(
                    chunk.content or (self._tools and chunk.tool_call_chunks)
                )
        finally:
            await chunks.aclose()
        if not pieces:
            raise NoAnswer
        ending = ending_of(pieces, told=self.named.tells_its_end and self.said_something)
        whole = add_ai_message_chunks(*pieces)
        message = message_chunk_to_message(whole)
        if not isinstance(message, AIMessage):
            raise TypeError(f"the model answered with {type(message).__name__} instead of an AIMessage")
        return _with_whole_calls(message, whole.tool_call_chunks), ending

    async def _next(self, chunks: Any, *, first: bool) -> Any:
        if not first or self.named.first_token_timeout_s is None:
            return await anext(chunks, None)
        timeout = asyncio.timeout(self.named.first_token_timeout_s)
        try:
            async with timeout:
                return await anext(chunks, None)
        except TimeoutError as error:
            if timeout.expired():
                raise FirstTokenTimeout from error
            raise


def _with_whole_calls(message: AIMessage, chunks: Sequence[ToolCallChunk]) -> AIMessage:
    """`message` with those calls alone whose arguments are JSON; the others are invalid_tool_calls.

    LangChain completes arguments that were cut off, so as to show them while they come: run, a tool would be given
    half of what the model meant.
    """
    calls, broken = list[ToolCall](), list[InvalidToolCall]()
    for chunk in chunks:
        name, args, call_id = chunk["name"] or "", chunk["args"] or "", chunk["id"]
        try:
            given = json.loads(args or "{}")
        except ValueError:
            given = None
        if isinstance(given, dict):
            calls.append(ToolCall(name=name, args=given, id=call_id))
        else:
            broken.append(InvalidToolCall(type="invalid_tool_call", name=name, args=args, id=call_id, error=None))
    return message.model_copy(update={"tool_calls": calls, "invalid_tool_calls": broken}) if chunks else message


def binds_tools(model: BaseChatModel) -> bool:
    return type(model).bind_tools is not BaseChatModel.bind_tools
