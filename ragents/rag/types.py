"""The words of retrieval: documents become chunks, chunks become sources."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ragents.llm.types import Ending, Usage

Scalar = str | int | float | bool
Metadata = Mapping[str, Scalar | None]
"""Flat: what filters can compare. Stored as JSON."""

SearchMode = Literal["hybrid", "dense", "lexical"]


@dataclass(frozen=True, slots=True)
class TextBlock:
    """A run of a document's text in Markdown, on one page where the format has pages (1-based; slides count)."""

    text: str
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """What a collection knows of one source. `uri` identifies it within its collection; the same hash = unchanged."""

    uri: str
    title: str
    format: str
    content_hash: str
    """sha256 (hex) of the content and of everything that shapes its chunks and vectors"""
    size_bytes: int = 0
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage. `start` and `end` are character offsets into the extracted text: text == whole[start:end]."""

    position: int
    text: str
    start: int
    end: int
    page: int | None = None
    headings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as the store lists it. Times are Unix seconds."""

    id: str
    collection: str
    uri: str
    title: str
    format: str
    version: int
    chunks: int
    size_bytes: int
    content_hash: str
    metadata: Metadata
    updated_at: float


@dataclass(frozen=True, slots=True)
class Collection:
    name: str
    documents: int
    chunks: int
    embedding_model: str
    dimension: int
    epoch: int
    """moved on by every change of the collection, in the change's own transaction"""


@dataclass(frozen=True, slots=True)
class Source:
    """A retrieved chunk. `score` is the fused one in 0..1; `similarity` the cosine, where the dense list had it."""

    id: str
    document_id: str
    uri: str
    title: str
    text: str
    score: float
    page: int | None = None
    headings: tuple[str, ...] = ()
    similarity: float | None = None
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Citation:
    """`marker` is the n of [n] in the answer, `quote` the sentence of the source that the claim rests on."""

    marker: int
    source_id: str
    quote: str


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A run of a document's chunks as sources (score 0, no similarity): the positions `start`, `start` + 1, ..."""

    document: StoredDocument
    start: int
    sources: tuple[Source, ...]


CacheLayer = Literal["answer", "semantic"]
Timings = Mapping[str, float]
"""Stage name -> milliseconds: embed_ms, retrieve_ms, rerank_ms, generate_ms."""


@dataclass(frozen=True, slots=True)
class RAGResponse:
    """What was found for a question and, once it was answered, the answer with its receipt.

    `sources` are best first and numbered from 1 by the markers in `answer`. `confidence` (0..1) says how likely
    that tells which the answer rests on: the sources that it cites (of a response without an answer: all of them);
    below RAGConfig.min_confidence the answer says that the documents do not. 1 for what was computed from the question
    alone, 0 for what a model says without citing anything. `ending`: whether the model had said all.
    """

    query: str
    sources: tuple[Source, ...] = ()
    confidence: float = 0.0
    answer: str | None = None
    citations: tuple[Citation, ...] = ()
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=dict)
    cached: CacheLayer | None = None
    cached_age_s: float | None = None
    cached_similarity: float | None = None
    """of the question that a semantic hit was stored for, to this one"""
    notes: tuple[str, ...] = ()
    """What was done differently from what one would expect: a question searched in parts, a step left out."""
    ending: Ending = "stop"
    passing: bool = False
    """It is of this moment, and not to be kept: it was cut short, or something that it needs was late or failed."""
