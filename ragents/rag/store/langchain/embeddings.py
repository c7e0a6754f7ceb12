"""Vectors that exist already, for stores that want to make them themselves."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from langchain_core.embeddings import Embeddings

from ragents.embeddings.types import Vectors


class HandedEmbeddings(Embeddings):
    """Gives each text the vector that it was handed with.

    What a store is told to embed is the id of a chunk, or a token for one question: a store may cut its texts into
    batches, try again or use threads of its own, and each still meets its vector. Any other text is a probe for the
    dimension (Qdrant's "dummy_text").
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._held: dict[str, list[float]] = {}

    @contextmanager
    def handing(self, names: Sequence[str], vectors: Vectors) -> Iterator[None]:
        self._held.update(zip(names, vectors.tolist(), strict=True))
        try:
            yield
        finally:
            for name in names:
                self._held.pop(name, None)

    @contextmanager
    def asking(self, vector: Vectors) -> Iterator[str]:
        """The text to search for instead of the question."""
        token = f"question {uuid.uuid4()}"
        with self.handing([token], vector[None, :]):
            yield token

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self._held.get(text) or [1.0, *[0.0] * (self.dimension - 1)]
