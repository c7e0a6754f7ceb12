"""The VectorStore port: whole documents in, ranked chunks out, one tenant at a time."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol, Self

from pydantic import Field, JsonValue, SecretStr, model_validator

from ragents.config.base import Config
from ragents.embeddings.types import Vectors
from ragents.principal import Principal
from ragents.rag.filters import Filters
from ragents.rag.store.optional import Move, SentenceVectors
from ragents.rag.types import Chunk, Collection, Document, Excerpt, SearchMode, Source, StoredDocument


class StoreConfig(Config):
    """`dsn` is the role that serves: neither owner nor superuser. `migrate_dsn` is the role that may change the schema.

    Neither given: the embedded Postgres (refused in an image).
    """

    backend: Literal["postgres", "langchain", "memory"] = "postgres"
    class_: str | None = Field(
        default=None, alias="class", description="langchain only: the VectorStore that holds the index"
    )
    args: dict[str, JsonValue] = Field(
        default_factory=dict, description="langchain only: of its constructor; '${NAME}' is read from the environment"
    )
    dsn: SecretStr | None = None
    migrate_dsn: SecretStr | None = None
    read_dsn: SecretStr | None = Field(default=None, description="a replica, for searches; down or behind: the primary")
    language: str = Field(default="english", description="of new collections: a text search configuration of Postgres")
    pool_size: int = Field(default=10, ge=1, le=500)
    connect_timeout_s: float = Field(default=10.0, gt=0)
    acquire_timeout_s: float = Field(default=5.0, gt=0)
    statement_timeout_s: float = Field(default=10.0, gt=0)
    pooler: bool = Field(default=False, description="dsn is the address of PgBouncer in transaction mode")

    @model_validator(mode="after")
    def _class_and_args_are_for_langchain(self) -> Self:
        if self.backend != "langchain" and (self.class_ is not None or self.args):
            raise ValueError(f"class and args are for backend = 'langchain', not {self.backend!r}; remove them")
        if self.backend == "langchain" and self.class_ is None:
            raise ValueError("backend = 'langchain' needs class, for example langchain_chroma.Chroma")
        if self.backend == "langchain" and self.read_dsn is not None:
            raise ValueError("read_dsn is for backend = 'postgres': a replica may be behind the vector store")
        return self


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """`embedding` may be absent in lexical mode. `filters`: see ragents.rag.filters; all must hold.

    `max_per_document` bounds the chunks of one document among the results. `mmr_lambda` (1 = relevance alone, 0 =
    difference alone) chooses them by Maximal Marginal Relevance; their order is then that of the choice.
    """

    text: str
    embedding: Vectors | None
    collection: str
    top_k: int = 5
    mode: SearchMode = "hybrid"
    candidates: int = 100
    dense_weight: float = 0.6
    filters: Filters = field(default_factory=dict)
    max_per_document: int | None = None
    mmr_lambda: float | None = None


@dataclass(frozen=True, slots=True)
class Upserted:
    document_id: str
    version: int
    outcome: Literal["created", "replaced", "unchanged"]
    chunks: int


@dataclass(frozen=True, slots=True)
class StoredChunks:
    """A document's chunks as they were embedded. `vectors`: (len(chunks), dimension), unit length."""

    title: str
    chunks: Sequence[Chunk]
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The chunk at `position` of its document and those around it, in the document's order."""

    position: int
    chunks: Sequence[Chunk]


class VectorStore(Protocol):
    """Every method sees the principal's tenant only.

    Errors: StoreUnavailable when the backend cannot be reached in time, NotFound for an unknown collection in `search`,
    Conflict for vectors of another model or dimension.
    """

    @property
    def sentences(self) -> SentenceVectors | None:
        """None: the store keeps none."""
        ...

    @property
    def move(self) -> Move | None:
        """None: collections of this store stay with their model."""
        ...

    async def upsert(
        self,
        document: Document,
        chunks: Sequence[Chunk],
        embeddings: Vectors,
        *,
        principal: Principal,
        collection: str,
        embedding_model: str,
        force: bool = False,
    ) -> Upserted:
        """Store or replace a document with its chunks at once: a reader sees the old or the new, never a mix.

        The collection is made when it does not exist. An equal content_hash changes nothing ("unchanged"), unless
        `force` asks for a new version all the same.
        """
        ...

    async def search(self, query: SearchQuery, *, principal: Principal) -> list[Source]:
        """Best first, at most top_k. One round trip."""
        ...

    async def delete(self, document_id: str, *, principal: Principal) -> StoredDocument:
        """Remove a document and all that was made from it; what it was. NotFound for a foreign or unknown id."""
        ...

    async def count(self, *, principal: Principal, collection: str | None = None) -> int:
        """Chunks stored (0 for an unknown collection)."""
        ...

    # The catalogue: what is stored.

    async def documents(
        self,
        *,
        principal: Principal,
        collection: str | None = None,
        uri: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[StoredDocument]:
        """By id, `after` exclusive: pass the last id to go on. With `uri` those of this uri, one per collection."""
        ...

    async def document(self, document_id: str, *, principal: Principal) -> StoredDocument: ...

    async def read_document(
        self, document_id: str, *, principal: Principal, start: int = 0, around: str | None = None, limit: int = 20
    ) -> Excerpt:
        """At most `limit` chunks of one version, in the document's order, from position `start` on.

        With `around`, the id of one of its chunks: from half of `limit` before that chunk. A document that has no such
        chunk (any more) is read from `start`. NotFound for a foreign or unknown document.
        """
        ...

    async def neighbours(
        self, chunk_ids: Sequence[str], *, principal: Principal, reach: int
    ) -> dict[str, Neighbourhood]:
        """For each chunk that is there, the `reach` chunks before and after it. One round trip."""
        ...

    async def stored_chunks(self, uri: str, *, principal: Principal, collection: str) -> StoredChunks | None:
        """Of one version, so that what comes again in the next need not be embedded. None: no such document, or the
        store does not give vectors back.
        """
        ...

    async def content_hashes(self, *, principal: Principal, collection: str) -> dict[str, str]:
        """uri -> content_hash of the whole collection, for skipping what has not changed. {} if there is none."""
        ...

    async def collections(self, *, principal: Principal) -> list[Collection]: ...

    async def collection(self, name: str, *, principal: Principal) -> Collection:
        """NotFound, naming how to make one, when the principal has no such collection."""
        ...

    def bulk(self, *, principal: Principal, collection: str) -> AbstractAsyncContextManager[None]:
        """Around a long ingest: search indexes are brought up to date when it closes."""
        ...

    async def ping(self) -> None:
        """One cheap round trip; StoreUnavailable when it fails or takes too long."""
        ...

    async def close(self) -> None: ...


__all__ = [
    "Neighbourhood",
    "SearchQuery",
    "StoreConfig",
    "StoredChunks",
    "Upserted",
    "VectorStore",
]
