"""Sources widened by their neighbours: nothing twice, nothing lost, and what was found stays what it was."""

from dataclasses import replace

from ragents.config import RAGConfig
from ragents.embeddings.hashing import HashingEmbedder
from ragents.principal import ANONYMOUS
from ragents.rag.engine import RAGEngine
from ragents.rag.store.memory import MemoryVectorStore
from ragents.rag.store.types import Neighbourhood
from ragents.rag.types import Chunk, Document, Source
from ragents.rag.windows import joined, widen

CHUNKS = [Chunk(0, "one two three", 0, 13), Chunk(1, "three four five", 8, 23), Chunk(2, "six seven", 24, 33)]
SOURCE = Source("b", "doc", "a.md", "A", "three four five", 0.5, page=1)


def around(position: int) -> Neighbourhood:
    return Neighbourhood(position, CHUNKS)


def test_what_two_chunks_share_is_shown_once() -> None:
    assert joined(CHUNKS) == "one two three four five six seven"


def test_chunks_far_apart_are_paragraphs() -> None:
    assert joined([Chunk(0, "one", 0, 3), Chunk(1, "five", 19, 23)]) == "one\n\nfive"


def test_a_source_is_widened_and_stays_itself() -> None:
    (widened,) = widen([SOURCE], {"b": around(1)})
    assert widened == replace(SOURCE, text="one two three four five six seven")


def test_a_window_ends_where_another_source_begins() -> None:
    other = replace(SOURCE, id="c", text="six seven")
    first, second = widen([SOURCE, other], {"b": around(1), "c": around(2)})
    assert (first.text, second.text) == ("one two three four five", "six seven")


def test_a_source_whose_document_was_replaced_stays_as_it_was_found() -> None:
    assert widen([SOURCE], {}) == (SOURCE,)


async def test_the_engine_reads_neighbours_and_trusts_what_was_found() -> None:
    store, embedder = MemoryVectorStore(), HashingEmbedder()
    vectors = await embedder.embed_documents([chunk.text for chunk in CHUNKS])
    document = Document("a.md", "A", "md", "hash")
    await store.upsert(
        document, CHUNKS, vectors, principal=ANONYMOUS, collection="default", embedding_model=embedder.model
    )
    narrow = await RAGEngine(embedder=embedder, store=store).retrieve("three four five", top_k=1)
    config = RAGConfig(neighbours=1)
    wide = await RAGEngine(embedder=embedder, store=store, config=config).retrieve("three four five", top_k=1)
    assert narrow.sources[0].text == "three four five"
    assert wide.sources[0].text == "one two three four five six seven"
    assert (wide.confidence, wide.sources[0].id) == (narrow.confidence, narrow.sources[0].id)
