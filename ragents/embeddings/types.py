"""The Embedder port: texts in, unit vectors out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ragents.config.base import Config

Vectors = NDArray[np.float32]
"""Shape (n, dimension) or (dimension,), float32, rows of length 1."""


LOCAL_BACKENDS = ("onnx", "sentence_transformers")
"""Those that load a model into a process of this server."""


class EmbeddingConfig(Config):
    """Which backend runs the model that `rag.embedding_model` names."""

    backend: Literal["onnx", "sentence_transformers", "hashing"] = "onnx"
    threads: int = Field(default=0, ge=0, description="CPU threads of the encoder; 0 = all cores")
    max_queue: int = Field(default=1000, ge=1, description="calls that may wait for the encoder; more are refused")
    queue_timeout_s: float = Field(default=60, gt=0, description="longest that a call waits for its vectors")
    device: str | None = Field(
        default=None, description="sentence_transformers only: cpu, cuda, mps; none = its choice"
    )


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
