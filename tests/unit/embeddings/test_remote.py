"""The encoder in another process, over a real socket."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ragents.embeddings import EmbeddingConfig, EncoderService, open_embedder
from ragents.embeddings.packing import pack, unpack
from ragents.embeddings.remote import RemoteEmbedder
from ragents.errors import EncoderUnavailable, Overloaded, TextTooLong
from tests.encoder_server import EncoderServer, HangUp, Late, serve
from tests.unit.embeddings.models import add_weights, make_folder

QUERIES = "/embed_queries"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_weights(make_folder(tmp_path_factory.mktemp("remote") / "m"))


@pytest.fixture(scope="module")
def server(folder: Path, home: Path) -> Iterator[EncoderServer]:
    yield from serve(str(folder), socket_path=home / "encoder.sock")


@pytest.fixture
async def embedder(server: EncoderServer, folder: Path) -> AsyncIterator[RemoteEmbedder]:
    service = EncoderService(server.url, timeout_s=2)
    async with open_embedder(EmbeddingConfig(), model=str(folder), service=service) as opened:
        assert isinstance(opened, RemoteEmbedder)
        server.requests.clear()
        yield opened
    server.answer.clear()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (HangUp(), "connection to its process broke"),
        (Late(), "did not answer in time"),
        (JSONResponse({}, 500), "status 500"),
        (JSONResponse({}, 503), "status 503"),
        (PlainTextResponse("no json"), "not one vector per text"),
        (JSONResponse([]), "0 rows for 1 texts"),
        (JSONResponse(["%%%"]), "not one vector per text"),
        (JSONResponse([5]), "not one vector per text"),
    ],
)
async def test_a_process_that_fails_is_a_clear_error_with_a_time_to_come_back_and_then_works_again(
    embedder: RemoteEmbedder, server: EncoderServer, answer: Response, said: str
) -> None:
    server.answer[QUERIES] = [answer]
    with pytest.raises(EncoderUnavailable, match=said) as error:
        await embedder.embed_query("cat")
    assert error.value.retry_after_s > 0
    assert [path for path, _ in server.requests] == [QUERIES]  # not tried twice
    assert (await embedder.embed_query("cat")).shape == (8,)


async def test_a_process_that_refuses_more_is_overloaded(embedder: RemoteEmbedder, server: EncoderServer) -> None:
    server.answer[QUERIES] = [JSONResponse({}, 429)]
    with pytest.raises(Overloaded):
        await embedder.embed_query("cat")


async def test_an_outage_is_told_to_all_that_shared_the_request_without_asking_again(
    embedder: RemoteEmbedder, server: EncoderServer
) -> None:
    server.answer[QUERIES] = [JSONResponse({}, 503)]
    found = await asyncio.gather(
        *(embedder.embed_query(text) for text in ("cat", "dog", "tax")), return_exceptions=True
    )
    assert [type(each) for each in found] == [EncoderUnavailable] * 3
    assert len(server.requests) == 1


async def test_a_process_that_is_not_there_is_a_clear_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderUnavailable, match="ConnectError"):
        async with open_embedder(
            EmbeddingConfig(), model=str(folder), service=EncoderService(f"file://{tmp_path}/none.sock")
        ):
            pass


async def test_one_that_takes_too_long_to_start_is_a_clear_error(server: EncoderServer, folder: Path) -> None:
    server.answer[QUERIES] = [Late()]
    with pytest.raises(EncoderUnavailable, match="in time"):
        async with open_embedder(
            EmbeddingConfig(), model=str(folder), service=EncoderService(server.url, start_timeout_s=0.2)
        ):
            pass


async def test_a_text_that_is_too_long_is_not_sent(embedder: RemoteEmbedder, server: EncoderServer) -> None:
    with pytest.raises(TextTooLong):
        await embedder.embed_documents(["cat " * 500])
    assert server.requests == []


async def test_the_check_tells_whether_it_is_ready(embedder: RemoteEmbedder, server: EncoderServer) -> None:
    await embedder.check()
    server.answer["/readyz"] = [JSONResponse({}, 503)]
    with pytest.raises(EncoderUnavailable):
        await embedder.check()


async def test_questions_of_one_moment_are_one_request(embedder: RemoteEmbedder, server: EncoderServer) -> None:
    texts = ("cat", "dog law", "tax")
    vectors = await asyncio.gather(*map(embedder.embed_query, texts))
    assert [(path, sorted(body["texts"])) for path, body in server.requests] == [(QUERIES, sorted(texts))]
    for vector, text in zip(vectors, texts, strict=True):
        assert float(vector @ await embedder.embed_query(text)) > 0.99999


def test_vectors_survive_the_way_bit_by_bit() -> None:
    vectors = np.random.default_rng(3).normal(size=(5, 7)).astype(np.float32)
    assert (unpack(pack(vectors), 5) == vectors).all()
    with pytest.raises(ValueError, match="5 rows for 4"):
        unpack(pack(vectors), 4)
