"""LocalEmbedder: the Embedder over a model in this process, whichever library runs it."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from ragents.embeddings.batching import Batcher, Observer
from ragents.embeddings.model_folder import Kind
from ragents.embeddings.texts import read_texts
from ragents.embeddings.types import EmbeddingConfig, Vectors
from ragents.errors import TextTooLong

CPU_BATCH_TOKENS = 500
"""Padded tokens of a batch on CPU, texts sorted by length: 47 texts per CPU second; unsorted batches of 32 did 13."""
INLINE_CHARACTERS = 2_000
"""Tokenized on the event loop, in less time than a thread takes to start; a question never waits for a thread."""


@dataclass(frozen=True, slots=True)
class Tokenized:
    """`ids` are those of the prompt and the text, special tokens included."""

    text: str
    ids: list[int]


class Encoder(Protocol):
    """A loaded model. Blocking, and called from several threads at once; what cannot bear that locks itself."""

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int: ...

    @property
    def batch_tokens(self) -> int: ...

    def tokenize(self, texts: Sequence[str], kind: Kind) -> list[Tokenized]:
        """Whole texts, never cut."""
        ...

    def encode(self, batch: Sequence[Tokenized], kind: Kind) -> Vectors:
        """Unit vectors of at least one text, none beyond the limit."""
        ...


class LocalEmbedder:
    """Load with `async with`, use inside it. A cancelled call stops after the batch that is running.

    One thread computes questions and one documents; the library spreads each batch over the cores. A question runs
    beside the batch of an ingest: measured with onnxruntime on two busy cores, 15 ms instead of the 50 ms that it
    took to wait for the batch (2026-11-20). Questions that come together share a batch. Several ingests take turns,
    batch by batch. `observe` is told of each batch, on the loop.
    """

    def __init__(
        self,
        model: str,
        load: Callable[[], Encoder],
        *,
        config: EmbeddingConfig | None = None,
        observe: Observer | None = None,
    ) -> None:
        self._model, self._load, self._observe = model, load, observe
        self._config = config or EmbeddingConfig()
        self._encoder: Encoder | None = None
        self._lanes: dict[Kind, Batcher[Tokenized]] = {}

    async def __aenter__(self) -> Self:
        """Loads in a thread; ConfigError when the model cannot be used."""
        self._encoder = encoder = await asyncio.to_thread(self._load)
        kinds: tuple[Kind, ...] = ("query", "document")
        self._lanes = {
            kind: Batcher(
                kind,
                partial(encoder.encode, kind=kind),
                batch_tokens=encoder.batch_tokens,
                max_queue=self._config.max_queue,
                timeout_s=self._config.queue_timeout_s,
                observe=self._observe,
            )
            for kind in kinds
        }
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits for the batches that are running; calls that want another one fail."""
        lanes, self._lanes, self._encoder = self._lanes, {}, None
        for lane in lanes.values():
            await lane.close()

    @property
    def model(self) -> str:
        return self._model

    @property
    def dimension(self) -> int:
        return self._opened().dimension

    @property
    def max_tokens(self) -> int:
        return self._opened().max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        encoder = self._opened()
        return [len(each.ids) for each in encoder.tokenize(read_texts(texts), "document")]

    async def embed_query(self, text: str) -> Vectors:
        vector: Vectors = (await self.embed([text], "query"))[0]
        return vector

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return await self.embed(texts, "document")

    async def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """Questions or documents, (len(texts), dimension)."""
        tokenized = await self._tokenize(read_texts(texts), kind)
        encoder = self._opened()
        vectors = np.zeros((len(tokenized), encoder.dimension), np.float32)
        lengths = [len(each.ids) for each in tokenized]
        for batch in split_into_batches(lengths, batch_tokens=encoder.batch_tokens):
            self._opened()  # closed in the meantime?
            vectors[batch] = await self._lanes[kind].encode([tokenized[i] for i in batch], longest=lengths[batch[0]])
        return vectors

    async def _tokenize(self, texts: list[str], kind: Kind) -> list[Tokenized]:
        encoder = self._opened()
        if sum(map(len, texts)) <= INLINE_CHARACTERS:
            tokenized = encoder.tokenize(texts, kind)
        else:
            tokenized = await asyncio.to_thread(encoder.tokenize, texts, kind)
        for index, each in enumerate(tokenized):
            if len(each.ids) > encoder.max_tokens:
                raise TextTooLong(tokens=len(each.ids), max_tokens=encoder.max_tokens, index=index)
        return tokenized

    def _opened(self) -> Encoder:
        if self._encoder is None:
            raise RuntimeError(f"the embedder of {self._model!r} is not open; use it inside `async with`")
        return self._encoder


def split_into_batches(lengths: Sequence[int], *, batch_tokens: int) -> Iterator[list[int]]:
    """Indices by falling length, in batches of at most `batch_tokens` padded tokens (and at least one text)."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > batch_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
