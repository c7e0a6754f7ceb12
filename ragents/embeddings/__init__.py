"""Embeddings: the Embedder port, and one file per backend."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ragents.config.rag_config import DEFAULT_EMBEDDING_MODEL
from ragents.embeddings.types import Embedder, EmbeddingConfig, Vectors

__all__ = ["Embedder", "EmbeddingConfig", "Vectors", "open_embedder"]


@asynccontextmanager
async def open_embedder(config: EmbeddingConfig, *, model: str = DEFAULT_EMBEDDING_MODEL) -> AsyncIterator[Embedder]:
    """The embedder that `config` names, loaded; ConfigError or MissingExtra when it cannot be."""
    # Imported here: a process loads the libraries of the backend it uses, and no other's.
    match config.backend:
        case "hashing":
            from ragents.embeddings.hashing import HashingEmbedder  # noqa: PLC0415

            yield HashingEmbedder()
        case "onnx":
            from ragents.embeddings.onnx import OnnxEmbedder  # noqa: PLC0415

            encoder = await asyncio.to_thread(OnnxEmbedder.load, config, model=model)
            try:
                yield encoder
            finally:
                await asyncio.to_thread(encoder.close)
        case "sentence_transformers":
            from ragents.embeddings.sentence_transformers import SentenceTransformersEmbedder  # noqa: PLC0415

            torch_encoder = await asyncio.to_thread(SentenceTransformersEmbedder.load, config, model=model)
            try:
                yield torch_encoder
            finally:
                await asyncio.to_thread(torch_encoder.close)
