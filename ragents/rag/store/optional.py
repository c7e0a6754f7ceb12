"""What some stores can do besides: keep vectors of sentences, move a collection to another model."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ragents.embeddings.types import Vectors
from ragents.principal import Principal
from ragents.rag.types import Chunk


class SentenceVectors(Protocol):
    """Vectors of the sentences of chunks, kept at half precision; they go with their chunk."""

    async def of_chunks(self, chunk_ids: Sequence[str], *, principal: Principal) -> dict[str, Vectors]:
        """Of the chunks that have them: (sentences, dimension) in the order of the sentences. One round trip."""
        ...

    def missing(self, *, principal: Principal, collection: str) -> AsyncIterator[Sequence[tuple[str, str]]]:
        """Ids and texts of the chunks that have none, in pages; each is given once, whatever is kept meanwhile."""
        ...

    async def keep(self, vectors: Mapping[str, Vectors], *, principal: Principal) -> None:
        """By id of the chunk; one that is gone is passed over, one that has them keeps what it has."""
        ...


@dataclass(frozen=True, slots=True)
class Unmoved:
    """A chunk that has no vector of the model that its collection moves to."""

    id: str
    title: str
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class Moved:
    """`indexed`: whether what is now searched has the index that it needs."""

    epoch: int
    chunks: int
    indexed: bool


class Move(Protocol):
    """A collection's way to another model, while it is searched and written with the one that it has.

    Errors: NotFound for an unknown collection, Conflict for a move that cannot begin or was ended by another process.
    """

    async def begin(
        self, collection: str, *, principal: Principal, embedding_model: str, dimension: int, restart: bool = False
    ) -> int:
        """Begin, or go on with what a run before left; chunks that are left. `restart` forgets what is there."""
        ...

    def unmoved(self, collection: str, *, principal: Principal) -> AsyncIterator[Sequence[Unmoved]]:
        """In pages; each is given once, whatever is kept meanwhile."""
        ...

    async def keep(
        self, vectors: Mapping[str, Vectors], *, principal: Principal, collection: str, embedding_model: str
    ) -> None:
        """By id of the chunk; one that is gone is passed over."""
        ...

    async def finish(self, collection: str, *, principal: Principal, embedding_model: str) -> Moved | None:
        """Every reader sees the new model from one commit on. None: chunks were written meanwhile and are unmoved."""
        ...
