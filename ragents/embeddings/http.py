"""Embeddings of a server: OpenAI's protocol (vLLM, LiteLLM, OpenAI itself) and Text Embeddings Inference (TEI)."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import numpy as np

from ragents.embeddings.counting import TokenCounter, find_counter
from ragents.embeddings.http_dialects import Dialect, create_dialect
from ragents.embeddings.http_transport import Refused, Requests
from ragents.embeddings.model_folder import Kind
from ragents.embeddings.texts import read_texts
from ragents.embeddings.types import EmbeddingConfig, Vectors
from ragents.errors import ConfigError, EncoderUnavailable, TextTooLong

TOO_LONG = frozenset({400, 413, 422})
"""What servers answer to a text beyond their limit: OpenAI and vLLM, TEI 1.x, TEI's validation."""


class HttpEmbedder:
    """Open with `async with`, use inside it. Vectors are made unit length here, whatever the server does.

    Texts are counted by the model's own tokenizer where its folder is on this machine, else by a bound that no
    tokenizer exceeds; a text that the server finds too long is TextTooLong as well.
    """

    def __init__(self, config: EmbeddingConfig, *, model: str) -> None:
        self._config, self._model = config, model
        self._dialect: Dialect = create_dialect(config, model=model)
        self._counter: TokenCounter = find_counter(config, model=model)
        self._requests: Requests | None = None
        self._stack = AsyncExitStack()
        self._dimension = self._max_tokens = 0
        self._batch_texts = config.batch_texts

    async def __aenter__(self) -> Self:
        """Asks for the limits and for one vector. ConfigError for what it refuses, EncoderUnavailable without it."""
        async with AsyncExitStack() as stack:
            self._requests = requests = await stack.enter_async_context(Requests(self._config))
            try:
                limits = await self._dialect.ask_limits(requests)
                first = await self._dialect.embed(requests, ["warm up"], "query")
            except Refused as error:
                raise ConfigError(f"embeddings.base_url = {self._config.base_url!r}: {error}") from error
            self._dimension = int(_unit(first, 1).shape[1])
            self._batch_texts = min(self._config.batch_texts, limits.texts or self._config.batch_texts)
            known = [each for each in (limits.tokens, self._counter.max_tokens) if each is not None]
            if self._config.max_tokens is None and not known:
                raise ConfigError(
                    f"embeddings.base_url = {self._config.base_url!r} does not say how many tokens {self._model!r} "
                    "takes; set embeddings.max_tokens"
                )
            self._max_tokens = self._config.max_tokens or min(known)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._requests = None
        await self._stack.aclose()

    @property
    def model(self) -> str:
        return self._model

    @property
    def dimension(self) -> int:
        return self._dimension

    @property
    def max_tokens(self) -> int:
        return self._max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._counter.count(read_texts(texts), "document")

    async def check(self) -> None:
        """EncoderUnavailable when the server does not answer."""
        try:
            await self._dialect.ask_health(self._opened())
        except Refused as error:
            raise EncoderUnavailable(str(error)) from error

    async def embed_query(self, text: str) -> Vectors:
        vector: Vectors = (await self._embed([text], "query"))[0]
        return vector

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return await self._embed(texts, "document")

    async def _embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        requests, texts = self._opened(), read_texts(texts)
        counts = self._counter.count(texts, kind) if kind == "query" else await self._count(texts, kind)
        if self._counter.exact:
            for index, tokens in enumerate(counts):
                if tokens > self._max_tokens:
                    raise TextTooLong(tokens=tokens, max_tokens=self._max_tokens, index=index)
        vectors = np.zeros((len(texts), self._dimension), np.float32)

        async def fill(batch: list[int]) -> None:
            try:
                found = await self._dialect.embed(requests, [texts[n] for n in batch], kind)
            except Refused as error:
                await self._find_too_long(error, batch, texts, kind, counts)
                raise EncoderUnavailable(str(error)) from error
            vectors[batch] = _unit(found, len(batch), self._dimension)

        # Neighbours in length share a request, which spares the server padding.
        order = sorted(range(len(texts)), key=lambda n: -counts[n])
        batches = [order[n : n + self._batch_texts] for n in range(0, len(order), self._batch_texts)]
        try:
            async with asyncio.TaskGroup() as group:
                for batch in batches:
                    group.create_task(fill(batch))
        except BaseExceptionGroup as errors:
            raise _first(errors) from errors
        return vectors

    async def _count(self, texts: list[str], kind: Kind) -> list[int]:
        return await asyncio.to_thread(self._counter.count, texts, kind)

    async def _find_too_long(
        self, error: Refused, batch: list[int], texts: list[str], kind: Kind, counts: list[int]
    ) -> None:
        """Which text of a refused batch the server will not take: the longest that it refuses alone."""
        longest = max(batch, key=lambda n: counts[n])
        if error.status not in TOO_LONG or counts[longest] <= self._max_tokens:
            return
        for index in sorted((n for n in batch if counts[n] > self._max_tokens), key=lambda n: -counts[n]):
            try:
                await self._dialect.embed(self._opened(), [texts[index]], kind)
            except Refused:
                raise TextTooLong(tokens=counts[index], max_tokens=self._max_tokens, index=index) from error

    def _opened(self) -> Requests:
        if self._requests is None:
            raise RuntimeError(f"the embedder of {self._model!r} is not open; use it inside `async with`")
        return self._requests


def _unit(rows: Any, count: int, dimension: int | None = None) -> Vectors:
    """Rows of length 1. EncoderUnavailable unless there are `count` rows of `dimension` finite numbers, none all 0."""
    try:
        vectors = np.asarray(rows, np.float32)
    except (TypeError, ValueError) as error:
        raise EncoderUnavailable("its answer is not one vector per text") from error
    if vectors.ndim != 2 or vectors.shape != (count, dimension or vectors.shape[1]):
        raise EncoderUnavailable(f"its answer has the shape {vectors.shape} for {count} texts")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise EncoderUnavailable("its answer has vectors without a direction")
    return np.asarray(vectors / lengths, np.float32)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended the group; the others were cancelled for it."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
