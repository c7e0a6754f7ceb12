"""What every Embedder does, over every backend."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager

import numpy as np
import pytest

from ragents.embeddings import Embedder, EmbeddingConfig, EncoderService, Vectors, open_embedder
from ragents.embeddings.cached import CachedEmbedder
from ragents.errors import InputError, TextTooLong
from tests.encoder_server import serve

BACKENDS = [
    "hashing",
    "onnx",
    "cached onnx",
    "service",
    pytest.param("sentence_transformers", marks=pytest.mark.extras),
]
TEXTS = ["The cat sits on the mat.", "Postgres stores rows.", "A kitten rests.", "", "  ", "ünï 🙂 \ud800", "x " * 200]
LONG = "word " * 5_000


class DictCache:
    def __init__(self) -> None:
        self.held: dict[str, Vectors] = {}

    async def get_many(self, keys: Sequence[str]) -> list[Vectors | None]:
        return [self.held.get(key) for key in keys]

    async def put_many(self, vectors: Mapping[str, Vectors]) -> None:
        self.held.update(vectors)


@pytest.fixture(scope="module", params=BACKENDS)
async def embedder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Embedder]:
    backend = request.param.removeprefix("cached ")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAGENTS_HOME", str(tmp_path_factory.getbasetemp() / "ragents-home"))
        async with AsyncExitStack() as stack:
            config, service = EmbeddingConfig(), None
            match backend:
                case "service":
                    path = tmp_path_factory.getbasetemp() / "encoder.sock"
                    server = stack.enter_context(contextmanager(serve)(socket_path=path))
                    service = EncoderService(server.url)
                case "openai" | "tei":
                    server = stack.enter_context(contextmanager(serve)())
                    url = server.url + ("/v1" if backend == "openai" else "")
                    config = EmbeddingConfig(backend=backend, base_url=url)
                case _:
                    config = EmbeddingConfig(backend=backend)
            opened = await stack.enter_async_context(open_embedder(config, service=service))
            yield CachedEmbedder(opened, DictCache()) if "cached" in request.param else opened


async def test_a_text_beyond_the_limit_is_an_error_that_names_both(embedder: Embedder) -> None:
    with pytest.raises(TextTooLong) as error:
        await embedder.embed_documents(["short", LONG])
    assert (error.value.index, error.value.max_tokens) == (1, embedder.max_tokens)
    assert error.value.tokens == embedder.count_tokens([LONG])[0] > embedder.max_tokens
    with pytest.raises(TextTooLong):
        await embedder.embed_query(LONG)


async def test_the_index_of_a_text_that_is_too_long_counts_all_texts_of_the_call(embedder: Embedder) -> None:
    await embedder.embed_documents(["seen before"])
    with pytest.raises(TextTooLong) as error:
        await embedder.embed_documents(["seen before", "new", "new", LONG])
    assert error.value.index == 3


async def test_something_that_is_no_text_is_an_input_error(embedder: Embedder) -> None:
    with pytest.raises(InputError, match="int"):
        await embedder.embed_documents(["x", 5])  # type: ignore[list-item]  # that is the point
    with pytest.raises(InputError, match="NoneType"):
        await embedder.embed_query(None)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(InputError, match="bytes"):
        embedder.count_tokens([b"x"])  # type: ignore[list-item]  # that is the point


async def test_one_text_in_place_of_a_list_is_an_input_error(embedder: Embedder) -> None:
    with pytest.raises(InputError, match="list of texts"):
        await embedder.embed_documents("one text, not forty letters")
    with pytest.raises(InputError, match="list of texts"):
        embedder.count_tokens("one text")


async def test_no_texts_give_no_rows(embedder: Embedder) -> None:
    vectors = await embedder.embed_documents([])
    assert (vectors.shape, vectors.dtype) == ((0, embedder.dimension), np.float32)
    assert embedder.count_tokens([]) == []


async def test_vectors_are_float32_rows_of_length_one(embedder: Embedder) -> None:
    vectors = await embedder.embed_documents(TEXTS)
    assert (vectors.shape, vectors.dtype) == ((len(TEXTS), embedder.dimension), np.float32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    query = await embedder.embed_query(TEXTS[0])
    assert (query.shape, query.dtype) == ((embedder.dimension,), np.float32)


async def test_a_text_has_the_same_vector_alone_and_among_others(embedder: Embedder) -> None:
    together = await embedder.embed_documents([*TEXTS, *reversed(TEXTS)])
    for index, text in enumerate(TEXTS):
        alone = (await embedder.embed_documents([text]))[0]
        assert float(alone @ together[index]) > 0.99999
        assert float(alone @ together[-1 - index]) > 0.99999


async def test_a_query_and_a_document_of_one_text_agree(embedder: Embedder) -> None:
    document = (await embedder.embed_documents([TEXTS[0]]))[0]
    assert float(await embedder.embed_query(TEXTS[0]) @ document) > 0.99999


async def test_the_longest_text_that_fits_is_taken(embedder: Embedder) -> None:
    words = embedder.max_tokens - 2
    assert embedder.count_tokens(["cat " * words, "cat"]) == [embedder.max_tokens, 3]
    await embedder.embed_query("cat " * words)
    with pytest.raises(TextTooLong):
        await embedder.embed_query("cat " * (words + 1))


async def test_the_end_of_a_long_text_counts(embedder: Embedder) -> None:
    one, other = await embedder.embed_documents(["cat " * 200 + "insurance policy", "cat " * 200 + "volcano eruption"])
    assert np.abs(one - other).max() > 1e-3


async def test_similar_texts_are_nearer(embedder: Embedder) -> None:
    a, b, c = await embedder.embed_documents(["the cat sits on the mat", "a cat sat on a mat", "tax law of 1986"])
    assert float(a @ b) > float(a @ c) + 0.1


async def test_many_calls_at_once_and_a_cancelled_one_leave_it_usable(embedder: Embedder) -> None:
    bulk = asyncio.create_task(embedder.embed_documents([f"text number {n} " * 20 for n in range(200)]))
    queries = await asyncio.gather(*(embedder.embed_query(f"question {n}") for n in range(10)))
    expected = await embedder.embed_documents([f"question {n}" for n in range(10)])
    assert (np.stack(queries) * expected).sum(axis=1).min() > 0.99999
    bulk.cancel()
    await asyncio.gather(bulk, return_exceptions=True)
    assert (await embedder.embed_query("still there?")).shape == (embedder.dimension,)
