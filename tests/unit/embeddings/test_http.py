"""OpenAI-compatible and TEI servers, over real HTTP: the test's own server speaks both."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ragents.embeddings import Embedder, EmbeddingConfig, open_embedder
from ragents.embeddings.types import Checked
from ragents.errors import ConfigError, EncoderUnavailable, Overloaded, TextTooLong
from tests.encoder_server import MODEL, EncoderServer, HangUp, Late, serve
from tests.unit.embeddings.models import add_weights, make_folder, write_json

EMBED = {"openai": "/v1/embeddings", "tei": "/embed"}
KEY = "s3cret"
BOTH = pytest.mark.parametrize("backend", ["openai", "tei"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_weights(make_folder(tmp_path_factory.mktemp("http") / "m"))


@pytest.fixture(scope="module")
def started(folder: Path, home: Path) -> Iterator[EncoderServer]:
    yield from serve(str(folder), key=KEY)


@pytest.fixture
def server(started: EncoderServer) -> EncoderServer:
    started.answer.clear()
    started.requests.clear()
    started.most_at_once = 0
    return started


def settings(server: EncoderServer, backend: str, **more: Any) -> EmbeddingConfig:
    url = server.url + ("/v1" if backend == "openai" else "")
    return EmbeddingConfig(**{"backend": backend, "base_url": url, "api_key": KEY, "timeout_s": 2} | more)


def opened(server: EncoderServer, backend: str, *, model: str = MODEL, **more: Any) -> Any:
    return open_embedder(settings(server, backend, **more), model=model)


def asked(server: EncoderServer, backend: str) -> list[list[str]]:
    """The texts of each request."""
    field = "input" if backend == "openai" else "inputs"
    return [body[field] for path, body in server.requests if path == EMBED[backend]]


def test_a_server_without_an_address_is_refused() -> None:
    with pytest.raises(ValidationError, match="base_url is missing"):
        EmbeddingConfig(backend="tei")


@BOTH
async def test_a_server_that_is_not_there_is_a_clear_error(server: EncoderServer, backend: str) -> None:
    with pytest.raises(EncoderUnavailable, match="cannot be reached"):
        async with opened(server, backend, base_url="http://127.0.0.1:9", retries=0):
            pass


@BOTH
async def test_a_wrong_key_is_a_clear_error_that_does_not_show_it(server: EncoderServer, backend: str) -> None:
    with pytest.raises(ConfigError, match="status 401") as error:
        async with opened(server, backend, api_key="wrong-one"):
            pass
    assert "wrong-one" not in str(error.value)


async def test_a_server_that_does_not_tell_its_limit_needs_the_setting(server: EncoderServer) -> None:
    with pytest.raises(ConfigError, match=r"'unknown/model' takes; set embeddings\.max_tokens"):
        async with opened(server, "openai", model="unknown/model"):
            pass
    async with opened(server, "openai", model="unknown/model", max_tokens=64) as embedder:
        assert embedder.max_tokens == 64


@BOTH
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (JSONResponse({}, 500), "status 500"),
        (PlainTextResponse("no json"), "not JSON"),
        (JSONResponse({"data": []}), "not one vector|shape"),
        (JSONResponse([]), "not one vector|shape"),
        (JSONResponse({"data": [{"index": 0, "embedding": [1.0, 2.0]}]}), "not one vector|shape"),
        (JSONResponse([[1.0, 2.0]]), "not one vector|shape"),
        (JSONResponse([[0.0] * 8]), "not one vector|without a direction"),
        (JSONResponse({"data": [{"index": 0, "embedding": [0.0] * 8}]}), "without a direction|not one vector"),
        (JSONResponse([["a"] * 8]), "not one vector"),
        (JSONResponse({"error": "no such thing"}, 404), "404: .*no such thing"),
        (Late(), "did not answer within 1.5 s"),
    ],
)
async def test_a_server_that_fails_is_a_clear_error_without_a_second_try(
    server: EncoderServer, backend: str, answer: Response, said: str
) -> None:
    async with opened(server, backend) as warm:
        assert warm.dimension == 8
    async with opened(server, backend, timeout_s=1.5) as embedder:
        server.requests.clear()
        server.answer[EMBED[backend]] = [answer]
        with pytest.raises(EncoderUnavailable, match=said):
            await embedder.embed_query("cat")
        assert len(asked(server, backend)) == 1
        assert (await embedder.embed_query("cat")).shape == (8,)


@BOTH
@pytest.mark.parametrize("answer", [HangUp(), JSONResponse({}, 503), JSONResponse({}, 429)])
async def test_what_may_go_better_the_next_time_is_tried_again(
    server: EncoderServer, backend: str, answer: Response
) -> None:
    async with opened(server, backend) as embedder:
        server.requests.clear()
        server.answer[EMBED[backend]] = [answer]
        assert (await embedder.embed_query("cat")).shape == (8,)
    assert len(asked(server, backend)) == 2


@BOTH
async def test_a_server_that_stays_busy_is_overloaded_with_its_own_time_to_come_back(
    server: EncoderServer, backend: str
) -> None:
    async with opened(server, backend, retries=1) as embedder:
        busy = [JSONResponse({}, 429, headers={"retry-after": seconds}) for seconds in ("0", "7")]
        server.answer[EMBED[backend]] = list(busy)
        with pytest.raises(Overloaded) as error:
            await embedder.embed_query("cat")
    assert error.value.retry_after_s == 7


@BOTH
async def test_pauses_end_with_the_time_allowed(server: EncoderServer, backend: str) -> None:
    async with opened(server, backend, timeout_s=1.5) as embedder:
        server.answer[EMBED[backend]] = [JSONResponse({}, 503, headers={"retry-after": "3600"})]
        with pytest.raises(EncoderUnavailable, match=r"within 1\.5 s"):
            await embedder.embed_query("cat")


@BOTH
async def test_a_text_that_the_server_finds_too_long_is_named(server: EncoderServer, backend: str) -> None:
    async with opened(server, backend) as embedder:
        texts = ["cat", "law " * 9, "dog " * 40, "tax"]  # the second is beyond our bound, and not beyond its limit
        with pytest.raises(TextTooLong) as error:
            await embedder.embed_documents(texts)
        assert (error.value.index, error.value.max_tokens) == (2, 32)
        assert (await embedder.embed_documents([texts[1]])).shape == (1, 8)


@BOTH
async def test_a_text_that_is_known_to_be_too_long_is_not_sent(
    server: EncoderServer, backend: str, folder: Path
) -> None:
    async with opened(server, backend, model=str(folder), max_tokens=32) as embedder:
        assert embedder.count_tokens(["cat dog law"]) == [5]
        server.requests.clear()
        with pytest.raises(TextTooLong) as error:
            await embedder.embed_documents(["cat", "cat " * 40])
    assert (error.value.tokens, error.value.index) == (42, 1)
    assert server.requests == []


@BOTH
async def test_calls_beyond_the_queue_are_refused(server: EncoderServer, backend: str) -> None:
    async with opened(server, backend, concurrency=1, max_queue=1, timeout_s=2) as embedder:
        server.answer[EMBED[backend]] = [Late()]
        first, second = (asyncio.create_task(embedder.embed_query(text)) for text in ("a", "b"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="1 calls wait"):
            await embedder.embed_query("c")
        with pytest.raises(EncoderUnavailable):
            await first
        assert (await second).shape == (8,)


@BOTH
async def test_limits_and_dimension_are_the_servers(server: EncoderServer, backend: str) -> None:
    async with opened(server, backend) as embedder:
        assert (embedder.model, embedder.dimension, embedder.max_tokens) == (MODEL, 8, 32)


@BOTH
async def test_vectors_are_those_of_the_same_model_here_and_of_length_one(
    server: EncoderServer, backend: str, folder: Path
) -> None:
    texts = ["cat", "dog law", "tax " * 9, "", "law"] * 3
    async with opened(server, backend) as embedder, open_embedder(EmbeddingConfig(), model=str(folder)) as local:
        found, expected = await embedder.embed_documents(texts), await local.embed_documents(texts)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-5)
    assert (found * expected).sum(axis=1).min() > 0.99999


@BOTH
async def test_large_calls_are_cut_and_sent_side_by_side_within_bounds(server: EncoderServer, backend: str) -> None:
    async with opened(server, backend, concurrency=2, batch_texts=3) as embedder:
        server.requests.clear()
        await embedder.embed_documents([f"cat {'dog ' * (n % 5)}" for n in range(20)])
    assert [len(texts) for texts in asked(server, backend)] == [3] * 6 + [2]
    assert server.most_at_once <= 2


async def test_tei_tells_how_many_texts_it_takes_at_once(server: EncoderServer) -> None:
    async with opened(server, "tei") as embedder:
        server.requests.clear()
        await embedder.embed_documents(["cat"] * 9)
    assert [len(texts) for texts in asked(server, "tei")] == [4, 4, 1]


@BOTH
async def test_prompts_come_from_the_settings_or_the_models_folder(
    server: EncoderServer, backend: str, tmp_path: Path
) -> None:
    folder = add_weights(make_folder(tmp_path / "m"))
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": "query: ", "passage": "passage: "}})
    async with opened(server, backend, model=str(folder), document_prompt="", max_tokens=32) as embedder:
        server.requests.clear()
        await embedder.embed_query("cat")
        await embedder.embed_documents(["dog"])
    assert asked(server, backend) == [["query: cat"], ["dog"]]


@BOTH
async def test_the_check_asks_without_embedding(server: EncoderServer, backend: str) -> None:
    async with opened(server, backend, retries=0) as embedder:
        server.requests.clear()
        assert isinstance(embedder, Checked)
        await embedder.check()
        assert asked(server, backend) == []
        path = {"openai": "/v1/models", "tei": "/health"}[backend]
        server.answer[path] = [JSONResponse({}, 503)]
        with pytest.raises(EncoderUnavailable):
            await embedder.check()


@BOTH
async def test_before_and_after_its_block_it_says_that_it_is_not_open(server: EncoderServer, backend: str) -> None:
    async with opened(server, backend) as embedder:
        pass
    with pytest.raises(RuntimeError, match="not open"):
        await _ask(embedder)


async def _ask(embedder: Embedder) -> None:
    await embedder.embed_query("cat")
