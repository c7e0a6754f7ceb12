"""An OpenAI-compatible server, over real HTTP: what is sent, what comes back, and what failures become."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from langchain_core.messages import HumanMessage
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ragents.errors import ModelUnavailable
from ragents.llm import ModelConfig, create_chat_model
from ragents.llm.client import LLMClient
from ragents.rag.answering import answer_from_sources
from ragents.rag.types import RAGResponse, Source


class ModelServer:
    """Answers chat completions with `content`, or with `status` when it is not 200."""

    def __init__(self) -> None:
        self.content, self.status = "It sits at the encoder [1]. Or elsewhere [7].", 200
        self.requests: list[tuple[dict[str, Any], str]] = []
        self.url = ""

    async def complete(self, request: Request) -> Response:
        self.requests.append((await request.json(), request.headers.get("authorization", "")))
        if self.status != 200:
            return JSONResponse({"error": {"message": "internal words"}}, self.status)
        message = {"role": "assistant", "content": self.content}
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return JSONResponse(
            {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}
        )


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    model = ModelServer()
    app = Starlette(routes=[Route("/v1/chat/completions", model.complete, methods=["POST"])])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        model.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        runner = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        task = asyncio.create_task(runner.serve(sockets=[listener]))
        while not runner.started:
            await asyncio.sleep(0.01)
        yield model
        runner.should_exit = True
        await task


def client(server: ModelServer, **settings: Any) -> LLMClient:
    config = ModelConfig(provider="openai", model_name="my-model", base_url=server.url, temperature=0.1, **settings)

    async def embed(texts: object) -> Any:
        raise AssertionError

    return LLMClient.of(create_chat_model(config, embed=embed), name=config.model_name, timeout_s=10)


async def test_a_server_that_fails_is_unavailable_without_its_words(server: ModelServer) -> None:
    server.status = 400
    with pytest.raises(ModelUnavailable) as error:
        await client(server).generate([HumanMessage("hello")])
    assert "my-model: answered with status 400" in str(error.value)
    assert "internal words" not in str(error.value)


async def test_an_overloaded_server_is_asked_again(server: ModelServer) -> None:
    server.status = 503
    with pytest.raises(ModelUnavailable, match="503"):
        await client(server).generate([HumanMessage("hello")])
    assert len(server.requests) == 3


async def test_passages_and_question_are_sent_and_the_answer_is_checked(server: ModelServer) -> None:
    source = Source("c1", "d1", "a.md", "Architecture", "Batching sits at the encoder. It is sorted.", 1.0, page=3)
    found = RAGResponse("Where does batching sit?", (source,), confidence=0.9)
    answered = await answer_from_sources(
        found, llm=client(server, api_key=SecretStr("sk-1")), min_confidence=0.3, max_tokens=50
    )
    assert answered.answer == "It sits at the encoder [1]. Or elsewhere."
    assert answered.citations[0].quote == "Batching sits at the encoder."
    assert (answered.usage.prompt_tokens, answered.usage.completion_tokens) == (11, 7)
    sent, authorization = server.requests[0]
    assert authorization == "Bearer sk-1"
    assert (sent["model"], sent["temperature"]) == ("my-model", 0.1)
    assert sent.get("max_tokens", sent.get("max_completion_tokens")) == 50
    assert 'from="Architecture, page 3"' in sent["messages"][-1]["content"]
    assert sent["messages"][-1]["content"].endswith("Question: Where does batching sit?")
    assert set(sent["messages"][-1]) == {"role", "content"}
