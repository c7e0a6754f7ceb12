"""Settings of retrieval: what is embedded, how text is cut, how many sources an answer may rest on."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ragents.config.base import Config

DEFAULT_EMBEDDING_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

Maker = Annotated[
    Literal["off", "rules", "llm"],
    BeforeValidator(lambda value: "off" if value is False else value),  # YAML reads a bare `off` as false
]


class QueryConfig(Config):
    """One question searched as several. Rules do what "llm" asks for where the model generates nothing, or fails."""

    multi_query: Maker = Field(default="off", description="search other wordings of the question too")
    decompose: Maker = Field(default="off", description="search the parts of a question that asks several things too")
    variants: int = Field(default=3, ge=1, le=8, description="other queries at most")
    timeout_s: float = Field(
        default=2.0, gt=0, le=60, description="that they have once the question's own search is done"
    )

    @property
    def active(self) -> bool:
        return (self.multi_query, self.decompose) != ("off", "off")


class RAGConfig(Config):
    """Sizes are in characters. `chunk_size` is a ceiling: a chunk also stays within the encoder's token limit."""

    embedding_model: str = DEFAULT_EMBEDDING_MODEL
    collection: str = "default"
    chunking: Literal["structure", "window", "semantic"] = Field(
        default="structure", description="cut along the structure, by a sliding window, or where the subject changes"
    )
    chunk_size: int = Field(default=1000, ge=100, le=20_000)
    chunk_overlap: int = Field(default=200, ge=0)
    top_k: int = Field(default=5, ge=1, le=50)
    candidates: int = Field(default=100, ge=10, le=1000, description="depth of each list before they are fused")
    dense_weight: float = Field(default=0.6, ge=0, le=1, description="share of the dense score in the fused one")
    query: QueryConfig = Field(default_factory=QueryConfig)
    neighbours: int = Field(default=0, ge=0, le=5, description="chunks before and after a source that are read with it")
    sentence_vectors: bool = Field(
        default=False, description="ingest embeds the sentences too, so that the extractive model need not"
    )
    min_confidence: float = Field(default=0.2, ge=0, le=1, description="below it the documents do not tell")

    @model_validator(mode="after")
    def _overlap_is_smaller_than_chunk(self) -> Self:
        if self.chunk_overlap >= self.chunk_size:
            raise ValueError(
                f"chunk_overlap ({self.chunk_overlap}) must be smaller than chunk_size ({self.chunk_size})"
            )
        return self
