"""Settings of retrieval: what is embedded, how text is cut, how many sources an answer may rest on."""

from typing import Self

from pydantic import Field, model_validator

from ragents.config.base import Config

DEFAULT_EMBEDDING_MODEL = "sentence-transformers/all-MiniLM-L6-v2"


class RAGConfig(Config):
    """Sizes are in characters. `chunk_size` is a ceiling: a chunk also stays within the encoder's token limit."""

    embedding_model: str = DEFAULT_EMBEDDING_MODEL
    collection: str = "default"
    chunk_size: int = Field(default=1000, ge=100, le=20_000)
    chunk_overlap: int = Field(default=200, ge=0)
    top_k: int = Field(default=5, ge=1, le=50)
    candidates: int = Field(default=100, ge=10, le=1000, description="depth of each list before they are fused")
    dense_weight: float = Field(default=0.5, ge=0, le=1, description="share of the dense score in the fused one")
    min_confidence: float = Field(default=0.2, ge=0, le=1, description="below it the documents do not tell")

    @model_validator(mode="after")
    def _overlap_is_smaller_than_chunk(self) -> Self:
        if self.chunk_overlap >= self.chunk_size:
            raise ValueError(
                f"chunk_overlap ({self.chunk_overlap}) must be smaller than chunk_size ({self.chunk_size})"
            )
        return self
