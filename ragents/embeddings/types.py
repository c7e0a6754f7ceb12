"""The Embedder port: texts in, unit vectors out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SecretStr, model_validator

from ragents.config.base import Config

Vectors = NDArray[np.float32]
"""Shape (n, dimension) or (dimension,), float32, rows of length 1."""


LOCAL_BACKENDS = ("onnx", "sentence_transformers", "mlx")
"""Those that load a model into a process of this server."""

SERVERS = ("openai", "tei")


class EmbeddingConfig(Config):
    """Which backend runs the model that `rag.embedding_model` names."""

    backend: Literal["onnx", "sentence_transformers", "mlx", "openai", "tei", "hashing"] = "onnx"
    precision: Literal["fp32", "int8"] = Field(
        default="fp32", description="onnx only: int8 is faster, and its vectors are another model's to the store"
    )
    threads: int = Field(default=0, ge=0, description="CPU threads of the encoder; 0 = all cores")
    max_queue: int = Field(default=1000, ge=1, description="calls that may wait for the encoder; more are refused")
    queue_timeout_s: float = Field(default=60, gt=0, description="longest that a call waits for its vectors")
    device: str | None = Field(
        default=None, description="sentence_transformers only: cpu, cuda, mps; none = its choice"
    )
    base_url: str | None = Field(default=None, description="openai (up to /v1), tei: the server")
    api_key: SecretStr | None = Field(default=None, description="openai, tei: sent as a bearer token")
    timeout_s: float = Field(default=30, gt=0, description="openai, tei: longest request, with its repetitions")
    retries: int = Field(default=2, ge=0, le=10, description="openai, tei: repetitions of a request")
    concurrency: int = Field(default=4, ge=1, le=100, description="openai, tei: requests at once, for each kind")
    batch_texts: int = Field(default=32, ge=1, le=2048, description="openai, tei: texts in a request")
    max_tokens: int | None = Field(default=None, ge=8, description="openai, tei: a text's limit; none = ask the server")
    query_prompt: str | None = Field(default=None, description="openai, tei: put before questions; none = the model's")
    document_prompt: str | None = Field(default=None, description="openai, tei: put before documents")

    @model_validator(mode="after")
    def _a_server_has_an_address(self) -> Self:
        if self.backend in SERVERS and not self.base_url:
            raise ValueError(f"base_url is missing; embeddings.backend {self.backend!r} asks a server")
        return self

    @model_validator(mode="after")
    def _int8_is_for_onnx(self) -> Self:
        if self.precision != "fp32" and self.backend != "onnx":
            raise ValueError(
                f"precision is {self.precision!r} and backend {self.backend!r}; only 'onnx' quantizes: remove precision"
            )
        return self

    def name_of(self, model: str) -> str:
        """The model as the store knows it: vectors of another precision are another model's."""
        return model if self.precision == "fp32" else f"{model}#{self.precision}"


@dataclass(frozen=True, slots=True)
class EncoderService:
    """A process that has the model: where it listens, and how long a request may take; the first finds it loading."""

    url: str
    timeout_s: float = 10.0
    start_timeout_s: float = 120.0


class Embedder(Protocol):
    """Async, safe to call from many tasks at once; CPU work runs off the event loop."""

    @property
    def model(self) -> str:
        """Stable name of the model; vectors of two names never meet in one collection."""
        ...

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """Longest text in tokens, special tokens included. A longer one raises TextTooLong, never a silent cut."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included. Pure CPU, fast enough for the loop on short texts."""
        ...

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """(len(texts), dimension); zero texts give (0, dimension)."""
        ...

    async def embed_query(self, text: str) -> Vectors:
        """(dimension,)"""
        ...


@runtime_checkable
class Checked(Protocol):
    """An Embedder whose model is elsewhere."""

    async def check(self) -> None:
        """EncoderUnavailable when it does not answer. Cheap, and embeds nothing."""
        ...


def settings_of(model: str) -> str:
    """The settings that make an encoder of this name, for messages."""
    name, hash_, precision = model.rpartition("#")
    return (
        f"rag.embedding_model: {name} and embeddings.precision: {precision}"
        if hash_
        else f"rag.embedding_model: {model}"
    )
