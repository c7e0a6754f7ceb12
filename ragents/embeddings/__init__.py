"""Embeddings: the Embedder port, and one file per backend."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial

from ragents.config.rag_config import DEFAULT_EMBEDDING_MODEL
from ragents.embeddings.batching import EncodedBatch, Observer
from ragents.embeddings.local import LocalEmbedder
from ragents.embeddings.types import Embedder, EmbeddingConfig, EncoderService, Vectors

__all__ = [
    "Embedder",
    "EmbeddingConfig",
    "EncodedBatch",
    "EncoderService",
    "Observer",
    "Vectors",
    "create_embedder",
    "open_embedder",
]


def create_embedder(
    config: EmbeddingConfig, *, model: str = DEFAULT_EMBEDDING_MODEL, observe: Observer | None = None
) -> Embedder:
    """The embedder that `config` names. One with a model is a LocalEmbedder, which loads in its `async with`; one of a
    server is an HttpEmbedder, which asks it there.

    `observe` is told of each batch that a local model runs.

    Raises MissingExtra when the backend's packages are not installed.
    """
    # Imported here: a process loads the libraries of the backend it uses, and no other's.
    match config.backend:
        case "hashing":
            from ragents.embeddings.hashing import HashingEmbedder  # noqa: PLC0415

            return HashingEmbedder()
        case "onnx":
            from ragents.embeddings.onnx import OnnxEncoder  # noqa: PLC0415

            load = partial(OnnxEncoder.load, config, model=model)
            return LocalEmbedder(config.name_of(model), load, config=config, observe=observe)
        case "sentence_transformers":
            from ragents.embeddings.sentence_transformers import TorchEncoder  # noqa: PLC0415

            return LocalEmbedder(model, partial(TorchEncoder.load, config, model=model), config=config, observe=observe)
        case "mlx":
            from ragents.embeddings.mlx import MlxEncoder  # noqa: PLC0415

            return LocalEmbedder(model, partial(MlxEncoder.load, model=model), config=config, observe=observe)
        case "openai" | "tei":
            from ragents.embeddings.http import HttpEmbedder  # noqa: PLC0415

            return HttpEmbedder(config, model=model)


@asynccontextmanager
async def open_embedder(
    config: EmbeddingConfig,
    *,
    model: str = DEFAULT_EMBEDDING_MODEL,
    observe: Observer | None = None,
    service: EncoderService | None = None,
) -> AsyncIterator[Embedder]:
    """The embedder that `config` names, loaded in a thread; ConfigError or MissingExtra when it cannot be.

    With `service` the model is in another process, which `config` was given as well.
    """
    async with AsyncExitStack() as stack:
        if service is not None:
            from ragents.embeddings.remote import RemoteEmbedder  # noqa: PLC0415  # as above

            embedder: Embedder = RemoteEmbedder(model, service, config=config, observe=observe)
        else:
            embedder = create_embedder(config, model=model, observe=observe)
        if isinstance(embedder, AbstractAsyncContextManager):
            await stack.enter_async_context(embedder)
        yield embedder
