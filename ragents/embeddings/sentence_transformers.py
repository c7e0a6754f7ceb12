"""The sentence-transformers backend (torch): cpu, cuda, mps; any model of the hub."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ragents.embeddings.types import EmbeddingConfig, Vectors
from ragents.embeddings.weights import find_model
from ragents.errors import ConfigError, InputError, MissingExtra, TextTooLong

try:
    from sentence_transformers import SentenceTransformer
except ImportError as error:
    raise MissingExtra("sentence-transformers", extra="torch") from error

BATCH_SIZE = 8
"""On CPU batches above 8 long texts are slower; sentence-transformers sorts by length itself."""


class SentenceTransformersEmbedder:
    """Made by `load`, in a thread; one worker thread computes."""

    def __init__(self, model: str, encoder: "SentenceTransformer") -> None:
        self._model = model
        self._encoder = encoder
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder")

    @classmethod
    def load(cls, config: EmbeddingConfig, *, model: str) -> "SentenceTransformersEmbedder":
        """Blocking: a local folder when there is one, else the hub. ConfigError when neither has the model."""
        try:
            source = str(find_model(model))
        except ConfigError:
            source = model
        try:
            return cls(model, SentenceTransformer(source, device=config.device))
        except OSError as error:
            raise ConfigError(f"rag.embedding_model = {model!r} cannot be loaded: {error}") from error

    @property
    def model(self) -> str:
        return self._model

    @property
    def dimension(self) -> int:
        return int(self._encoder.get_embedding_dimension())

    @property
    def max_tokens(self) -> int:
        return int(self._encoder.max_seq_length)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        tokenizer = self._encoder.tokenizer
        return [len(tokenizer(_text(text), truncation=False, verbose=False)["input_ids"]) for text in texts]

    async def embed_query(self, text: str) -> Vectors:
        vector: Vectors = (await self.embed_documents([text]))[0]
        return vector

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._encode, list(texts))

    def close(self) -> None:
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _encode(self, texts: list[str]) -> Vectors:
        for index, tokens in enumerate(self.count_tokens(texts)):
            if tokens > self.max_tokens:
                raise TextTooLong(tokens=tokens, max_tokens=self.max_tokens, index=index)
        vectors = self._encoder.encode(
            [_text(text) for text in texts], batch_size=BATCH_SIZE, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(vectors, np.float32)


def _text(text: object) -> str:
    if not isinstance(text, str):
        raise InputError(f"expected a text, found {type(text).__name__}", field="text")
    return text.encode("utf-8", "replace").decode("utf-8")
