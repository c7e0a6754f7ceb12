"""An engine over the doubles that ship, filled with a few documents; a chat model that follows a script."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolCall, ToolCallChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import ConfigDict, Field

from ragents.config import RAGConfig
from ragents.embeddings.hashing import HashingEmbedder
from ragents.llm.client import LLMClient
from ragents.llm.extractive import ExtractiveChatModel
from ragents.principal import ANONYMOUS, Principal
from ragents.rag.cache import CacheConfig, RAGCache, get_cache
from ragents.rag.engine import RAGEngine
from ragents.rag.store.memory import MemoryVectorStore
from ragents.rag.types import Chunk, Document

TEXTS = {
    "batching.md": "Adaptive batching sits at the encoder because that is where the model is.",
    "store.md": "Postgres keeps documents and vectors in one transaction.",
    "cats.md": "The cat sleeps on the warm windowsill every afternoon.",
}


async def add_document(
    engine: RAGEngine,
    uri: str,
    texts: Sequence[str],
    *,
    principal: Principal = ANONYMOUS,
    collection: str = "default",
    metadata: dict[str, str] | None = None,
) -> str:
    """Store one document with one chunk per text; its id."""
    chunks = [Chunk(n, text, 0, len(text)) for n, text in enumerate(texts)]
    stored = await engine.store.upsert(
        Document(uri, uri, "md", f"hash of {texts}", metadata=metadata or {}),
        chunks,
        await engine.embedder.embed_documents(texts),
        principal=principal,
        collection=collection,
        embedding_model=engine.embedder.model,
    )
    return stored.document_id


async def make_engine(*, cache: RAGCache | None = None, llm: LLMClient | None = None) -> RAGEngine:
    """Hashing embedder, memory store, extractive model; TEXTS in the default collection of the anonymous tenant."""
    embedder = HashingEmbedder()
    engine = RAGEngine(
        embedder=embedder,
        store=MemoryVectorStore(),
        cache=cache,
        config=RAGConfig(min_confidence=0.0),  # the gate is calibrated for the real encoder
        llm=llm or LLMClient.of(ExtractiveChatModel(embed=embedder.embed_documents), name="extractive"),
    )
    for uri, text in TEXTS.items():
        await add_document(engine, uri, [text])
    return engine


def make_cache() -> RAGCache:
    return get_cache(CacheConfig())


Scripted = str | AIMessage | Exception | Callable[[list[BaseMessage]], "Scripted"]


class ScriptedChatModel(BaseChatModel):
    """Answers one response after the other, and the last one again and again. Can be given tools, and streams words.

    A response is a text, a message (see `calling`), an exception to raise, or a function of the messages that gives one
    of these. `seen` holds the messages of every call, `bound` the names of the tools that came with it.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)
    responses: list[Any]
    seen: list[list[BaseMessage]] = Field(default_factory=list)
    bound: list[list[str]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        return self.bind(tools=tools, **kwargs)

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages, **kwargs))])

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages, **kwargs))])

    async def _astream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        message = self._next(messages, **kwargs)
        words = message.text.split(" ")
        for n, word in enumerate(words):
            last = n == len(words) - 1
            chunk = AIMessageChunk(
                word if last else f"{word} ",
                id=message.id,
                tool_call_chunks=_call_chunks(message) if last else [],
                usage_metadata=message.usage_metadata if last else None,
            )
            yield ChatGenerationChunk(message=chunk)

    def _next(self, messages: list[BaseMessage], **kwargs: Any) -> AIMessage:
        response = self.responses[min(len(self.seen), len(self.responses) - 1)]
        self.seen.append(list(messages))
        self.bound.append([each["function"]["name"] for each in kwargs.get("tools", [])])
        while callable(response):
            response = response(messages)
        if isinstance(response, Exception):
            raise response
        return AIMessage(response) if isinstance(response, str) else response.model_copy()


def _call_chunks(message: AIMessage) -> list[ToolCallChunk]:
    """As a server sends them: arguments are text, whatever it reads."""
    sound = [(call["name"], json.dumps(call["args"]), call["id"]) for call in message.tool_calls]
    broken = [(call["name"], call["args"], call["id"]) for call in message.invalid_tool_calls]
    return [
        ToolCallChunk(name=name, args=args, id=id_, index=n) for n, (name, args, id_) in enumerate([*sound, *broken])
    ]


class WholeChatModel(BaseChatModel):
    """Does not stream: `respond` gives the whole answer to the messages."""

    respond: Callable[[list[BaseMessage]], Awaitable[str | AIMessage]]

    @property
    def _llm_type(self) -> str:
        return "whole"

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        said = await self.respond(messages)
        message = AIMessage(said) if isinstance(said, str) else said
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        raise AssertionError("asked without awaiting")


def hanging_model() -> WholeChatModel:
    async def hang(_: object) -> str:
        await asyncio.Event().wait()
        raise AssertionError

    return WholeChatModel(respond=hang)


def broken_model(error: Exception) -> WholeChatModel:
    async def fail(_: object) -> str:
        raise error

    return WholeChatModel(respond=fail)


def calling(*calls: tuple[str, dict[str, Any]], tokens: int = 10, ids: Sequence[str] = ()) -> AIMessage:
    """A message that calls tools by name and arguments; ids are call_0, call_1, ... unless given."""
    made = [
        ToolCall(name=name, args=arguments, id=ids[n] if ids else f"call_{n}")
        for n, (name, arguments) in enumerate(calls)
    ]
    usage = {"input_tokens": tokens, "output_tokens": 0, "total_tokens": tokens}
    return AIMessage("", tool_calls=made, usage_metadata=usage)  # type: ignore[arg-type]  # a dict of these keys is one
