"""The Reranker port: how well each text answers a question, by a model that reads both."""

from collections.abc import Sequence
from typing import Literal, Protocol, Self

from pydantic import Field, SecretStr, model_validator

from ragents.config.base import Config


class RerankConfig(Config):
    """`provider: none` leaves the ranking as it is. A reranker that is late or fails is left out, and the notes say so.

    `cross_encoder` runs `model` here (the extra `torch`); `tei` and `cohere` ask a server at `base_url`: TEI's /rerank,
    or Cohere's /v2/rerank, which Jina, vLLM and others serve as well.
    """

    provider: Literal["none", "cross_encoder", "tei", "cohere"] = "none"
    model: str | None = None
    base_url: str | None = None
    api_key: SecretStr | None = None
    candidates: int = Field(default=30, ge=1, le=200, description="best sources of the search that are ranked anew")
    timeout_s: float = Field(default=2.0, gt=0, le=60)
    device: str | None = Field(default=None, description="cross_encoder only: cpu, cuda, mps; none = its choice")

    @model_validator(mode="after")
    def _provider_has_what_it_needs(self) -> Self:
        if self.provider in ("cross_encoder", "cohere") and not self.model:
            raise ValueError(f"model is missing; rerank.provider {self.provider!r} needs one")
        if self.provider in ("tei", "cohere") and not self.base_url:
            raise ValueError(f"base_url is missing; rerank.provider {self.provider!r} asks a server")
        return self


class Reranker(Protocol):
    """Safe to call from many tasks at once."""

    @property
    def model(self) -> str:
        """Part of the cache's key."""
        ...

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """One score in 0..1 per text, in their order. Raises RerankerUnavailable."""
        ...

    async def close(self) -> None: ...
