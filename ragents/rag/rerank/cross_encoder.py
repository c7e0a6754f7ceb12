"""A cross-encoder of sentence-transformers (torch), in this process."""

import asyncio
from collections.abc import Sequence

import numpy as np

from ragents.embeddings.batching import Batcher
from ragents.embeddings.local import split_into_batches
from ragents.embeddings.types import Vectors
from ragents.errors import ConfigError, MissingExtra, Overloaded, RerankerUnavailable
from ragents.rag.rerank.types import RerankConfig

try:
    import torch
    from sentence_transformers import CrossEncoder
except ImportError as error:
    raise MissingExtra("cross_encoder", extra="torch") from error

CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 2_048, 16_384
CHARACTERS_PER_TOKEN, SPECIAL_TOKENS = 4, 3
"""Lengths are estimated, for the order of pairs alone: the tokenizer belongs to the thread that computes."""
MAX_QUEUE, MAX_WAIT_S = 1_000, 60.0

Pair = tuple[str, str]


class CrossEncoderReranker:
    """Made by `load`. Pairs of questions that come together share batches; what is given up leaves the queue."""

    def __init__(self, encoder: CrossEncoder, model: str) -> None:
        self._encoder, self._model = encoder, model
        self._batch_tokens = CPU_BATCH_TOKENS if encoder.device.type == "cpu" else GPU_BATCH_TOKENS
        self._batcher: Batcher[Pair] = Batcher(
            "document", self._scores, batch_tokens=self._batch_tokens, max_queue=MAX_QUEUE, timeout_s=MAX_WAIT_S
        )

    @classmethod
    def load(cls, config: RerankConfig) -> "CrossEncoderReranker":
        """ConfigError for a model that cannot be loaded. Safetensors only, and no code of a model's author runs."""
        model = config.model or ""
        try:
            encoder = CrossEncoder(
                model,
                device=config.device,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
                activation_fn=torch.nn.Sigmoid(),
            )
        except Exception as error:  # hub, torch and transformers raise classes that share no other base
            raise ConfigError(f"rerank.model = {model!r} cannot be loaded: {error}") from error
        if encoder.num_labels != 1:
            raise ConfigError(f"rerank.model = {model!r} gives {encoder.num_labels} values per text; expected one")
        return cls(encoder, model)

    @property
    def model(self) -> str:
        return self._model

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        pairs = [(query, text) for text in texts]
        lengths = [(len(query) + len(text)) // CHARACTERS_PER_TOKEN + SPECIAL_TOKENS for text in texts]
        batches = list(split_into_batches(lengths, batch_tokens=self._batch_tokens))
        scores = np.zeros(len(pairs), np.float32)
        try:
            async with asyncio.TaskGroup() as group:
                for batch in batches:
                    group.create_task(self._fill(scores, batch, pairs, longest=lengths[batch[0]]))
        except ExceptionGroup as errors:  # torch raises what it likes: no memory left on the device, a broken driver
            first = errors.exceptions[0]
            detail = "it has too much to do" if isinstance(first, Overloaded) else f"it failed ({type(first).__name__})"
            raise RerankerUnavailable(detail) from errors
        return scores.tolist()

    async def close(self) -> None:
        await self._batcher.close()

    async def _fill(self, scores: Vectors, batch: list[int], pairs: Sequence[Pair], *, longest: int) -> None:
        scores[batch] = await self._batcher.encode([pairs[n] for n in batch], longest=longest)

    def _scores(self, pairs: list[Pair]) -> Vectors:
        return np.asarray(self._encoder.predict(pairs, batch_size=len(pairs), show_progress_bar=False), np.float32)
