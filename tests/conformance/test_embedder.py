"""What every Embedder does, over every backend that needs no extra."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import numpy as np
import pytest

from ragents.embeddings import Embedder, EmbeddingConfig, Vectors, open_embedder
from ragents.embeddings.cached import CachedEmbedder
from ragents.errors import InputError, TextTooLong

TEXTS = ["The cat sits on the mat.", "Postgres stores rows.", "A kitten rests on a rug.", "", "  ", "ünï 🙂 \ud800"]
LONG = "word " * 5_000


class DictCache:
    def __init__(self) -> None:
        self.held: dict[str, Vectors] = {}

    async def get_many(self, keys: Sequence[str]) -> list[Vectors | None]:
        return [self.held.get(key) for key in keys]

    async def put_many(self, vectors: Mapping[str, Vectors]) -> None:
        self.held.update(vectors)


@pytest.fixture(scope="module", params=["hashing", "onnx", "cached onnx"])
async def embedder(request: pytest.FixtureRequest) -> AsyncIterator[Embedder]:
    backend = request.param.removeprefix("cached ")
    async with open_embedder(EmbeddingConfig(backend=backend)) as opened:
        yield CachedEmbedder(opened, DictCache()) if "cached" in request.param else opened


async def test_a_text_beyond_the_limit_is_an_error_that_names_both(embedder: Embedder) -> None:
    with pytest.raises(TextTooLong) as error:
        await embedder.embed_documents(["short", LONG])
    assert (error.value.index, error.value.max_tokens) == (1, embedder.max_tokens)
    assert error.value.tokens > embedder.max_tokens
    with pytest.raises(TextTooLong):
        await embedder.embed_query(LONG)


async def test_something_that_is_no_text_is_an_input_error(embedder: Embedder) -> None:
    with pytest.raises(InputError, match="int"):
        await embedder.embed_documents(["x", 5])  # type: ignore[list-item]  # that is the point


async def test_no_texts_give_no_rows(embedder: Embedder) -> None:
    assert (await embedder.embed_documents([])).shape == (0, embedder.dimension)


async def test_vectors_are_float32_rows_of_length_one(embedder: Embedder) -> None:
    vectors = await embedder.embed_documents(TEXTS)
    assert (vectors.shape, vectors.dtype) == ((len(TEXTS), embedder.dimension), np.float32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)


async def test_a_text_has_the_same_vector_alone_and_among_others(embedder: Embedder) -> None:
    together = await embedder.embed_documents(TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        alone = (await embedder.embed_documents([text]))[0]
        assert float(alone @ vector) > 0.99999


async def test_a_query_and_a_document_of_one_text_agree(embedder: Embedder) -> None:
    document = (await embedder.embed_documents([TEXTS[0]]))[0]
    assert float(await embedder.embed_query(TEXTS[0]) @ document) > 0.99999


async def test_the_longest_text_that_fits_is_taken(embedder: Embedder) -> None:
    words = embedder.max_tokens - 2
    assert embedder.count_tokens(["cat " * words]) == [embedder.max_tokens]
    await embedder.embed_query("cat " * words)
    with pytest.raises(TextTooLong):
        await embedder.embed_query("cat " * (words + 1))


async def test_similar_texts_are_nearer(embedder: Embedder) -> None:
    a, b, c = await embedder.embed_documents(["the cat sits on the mat", "a cat sat on a mat", "tax law of 1986"])
    assert float(a @ b) > float(a @ c)


async def test_many_calls_at_once_and_a_cancelled_one_leave_it_usable(embedder: Embedder) -> None:
    bulk = asyncio.create_task(embedder.embed_documents([f"text number {n} " * 20 for n in range(200)]))
    queries = await asyncio.gather(*(embedder.embed_query(f"question {n}") for n in range(10)))
    assert len(queries) == 10
    bulk.cancel()
    await asyncio.gather(bulk, return_exceptions=True)
    assert (await embedder.embed_query("still there?")).shape == (embedder.dimension,)


async def test_the_cache_asks_the_inner_one_once_per_text() -> None:
    asked: list[str] = []
    async with open_embedder(EmbeddingConfig(backend="hashing")) as inner:

        class Counting(CachedEmbedder):
            async def embed_documents(self, texts: Sequence[str]) -> Vectors:
                asked.extend(texts)
                return await super().embed_documents(texts)

        cached = CachedEmbedder(Counting(inner, DictCache()), DictCache())
        first = await cached.embed_documents(["a", "b", "a"])
        second = await cached.embed_documents(["b", "c", "a"])
    assert asked == ["a", "b", "c"]
    assert np.array_equal(first[0], first[2])
    assert np.array_equal(first[1], second[0])
