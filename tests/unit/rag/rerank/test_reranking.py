"""Rerankers: real requests to a real server, and what happens when it is late, wrong or gone."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ragents.rag.engine import RAGEngine
from ragents.rag.rerank import RerankConfig, open_reranking
from ragents.rag.types import Source
from tests.doubles import make_cache, make_engine
from tests.ports import free_port

SOURCES = [Source(f"s{n}", "d", "u", "t", text, 1.0 - n / 10) for n, text in enumerate(("alpha", "beta", "gamma"))]


class Server:
    """Scores by how long a text is. The question says what it is to do: "late", "500", "garbage", "short"."""

    def __init__(self) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []

    async def answer(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        self.keys.append(request.headers.get("authorization"))
        texts = body.get("texts") or body["documents"]
        name = "score" if "texts" in body else "relevance_score"
        scores = [{"index": n, name: len(text) / 10} for n, text in enumerate(texts)]
        scores.sort(key=lambda each: -each[name])
        match body["query"]:
            case "late":
                await asyncio.sleep(30)
            case "500":
                return Response("broken", 500)
            case "garbage":
                return Response("<html>")
            case "short":
                scores.pop()
        return JSONResponse(scores if "texts" in body else {"results": scores})


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    app = Starlette(routes=[Route(path, made.answer, methods=["POST"]) for path in ("/rerank", "/v2/rerank")])
    running = uvicorn.Server(uvicorn.Config(app, port=int(made.url.rpartition(":")[2]), log_level="error"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield made
    running.should_exit = running.force_exit = True
    thread.join(10)


def config(server: Server, provider: str = "tei", **fields: object) -> RerankConfig:
    return RerankConfig.model_validate({"provider": provider, "base_url": server.url + "/", "model": "m", **fields})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"provider": "cross_encoder"}, "model is missing"),
        ({"provider": "cohere", "base_url": "http://x"}, "model is missing"),
        ({"provider": "tei"}, "base_url is missing"),
        ({"provider": "magic"}, "provider"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        RerankConfig.model_validate(fields)


async def test_there_is_none_by_default() -> None:
    async with open_reranking(RerankConfig()) as reranking:
        assert reranking is None


@pytest.mark.parametrize("provider", ["tei", "cohere"])
async def test_sources_come_in_the_order_of_the_scores(server: Server, provider: str) -> None:
    async with open_reranking(config(server, provider, api_key="secret")) as reranking:
        assert reranking is not None
        best, note = await reranking.best("which", SOURCES, 2)
    assert note is None
    assert [(source.text, source.score) for source in best] == [("alpha", 0.5), ("gamma", 0.5)], "equal: as searched"
    assert server.keys[-1] == "Bearer secret"
    assert "secret" not in str(server.asked[-1])


@pytest.mark.parametrize("provider", ["tei", "cohere"])
@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("late", "longer than 1.5 s"),
        ("500", "status 500"),
        ("garbage", "something else than a score per text"),
        ("short", "something else than a score per text"),
    ],
)
async def test_one_that_is_late_or_wrong_is_left_out_and_the_note_says_so(
    server: Server, provider: str, query: str, words: str
) -> None:
    async with open_reranking(config(server, provider, timeout_s=1.5)) as reranking:
        assert reranking is not None
        best, note = await reranking.best(query, SOURCES, 2)
    assert list(best) == SOURCES[:2]
    assert note is not None
    assert note.startswith("not reranked: ")
    assert words in note


async def test_one_that_is_gone_is_left_out_too() -> None:
    gone = RerankConfig(provider="tei", base_url=f"http://127.0.0.1:{free_port()}")
    async with open_reranking(gone) as reranking:
        assert reranking is not None
        best, note = await reranking.best("x", SOURCES, 3)
    assert list(best) == SOURCES
    assert note is not None
    assert "cannot be reached" in note


async def test_the_engine_ranks_more_than_it_gives_and_says_how_long_it_took(server: Server) -> None:
    made = await make_engine()
    async with open_reranking(config(server, candidates=50)) as reranking:
        engine = RAGEngine(embedder=made.embedder, store=made.store, config=made.config, reranking=reranking)
        found = await engine.retrieve("Where does batching sit?", top_k=1)
    searched = await made.retrieve("Where does batching sit?", top_k=50)
    assert len(found.sources) == 1
    assert len(found.sources[0].text) == max(len(source.text) for source in searched.sources)
    assert len(server.asked[-1]["texts"]) == len(searched.sources) > 1
    assert found.timings["rerank_ms"] > 0


async def test_a_ranking_without_the_reranker_is_not_kept(server: Server) -> None:
    made = await make_engine()
    async with open_reranking(config(server, timeout_s=10)) as reranking:
        engine = RAGEngine(
            embedder=made.embedder, store=made.store, config=made.config, cache=make_cache(), reranking=reranking
        )
        for query, asked in (("500", 2), ("Where does batching sit?", 1)):
            before = len(server.asked)
            for _ in range(2):
                await engine.retrieve(query)
            assert len(server.asked) == before + asked
