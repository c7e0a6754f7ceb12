"""python -m tests.chaos.worker PORT BACKEND URL EFFECTS: agents on durable threads, over HTTP, made to be killed."""

import asyncio
import os
import random
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from langchain_core.messages import BaseMessage
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ragents.agents import AgentConfig, Turn
from ragents.agents.checkpointing import CheckpointConfig, open_thread_state
from ragents.agents.conversations import Conversations
from ragents.agents.langgraph_base import LangGraphAgent
from ragents.agents.react import ReactAgent
from ragents.agents.simple import SimpleAgent
from ragents.agents.tools import Tool, create_tool
from ragents.errors import NotFound, RAGentsError
from ragents.principal import ANONYMOUS
from tests.doubles import ScriptedChatModel, calling, make_engine

KEY = re.compile(r"turn (\w+-\d+)")


def reply(messages: list[BaseMessage]) -> object:
    """Calls `book` once per turn, then answers with the turn's key."""
    keys = [key for message in messages if message.type == "human" for key in KEY.findall(str(message.content))]
    if messages[-1].type == "tool":
        return f"done turn {keys[-1]}: {messages[-1].content}"
    return calling(("book", {"key": keys[-1]}))


def answer(messages: list[BaseMessage]) -> str:
    return f"done turn {KEY.findall(str(messages[-1].content))[-1]} [1]"


def booking(file: str) -> Tool:
    async def book(key: str) -> str:
        """Book something, once."""
        await asyncio.sleep(random.uniform(0, 0.1))
        line = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(line, f"{key}\n".encode())
        finally:
            os.close(line)
        await asyncio.sleep(random.uniform(0, 0.1))
        return f"booked {key}"

    return create_tool(book, side_effects=True)


@asynccontextmanager
async def conversations(config: CheckpointConfig, effects: str) -> AsyncIterator[Conversations]:
    async with open_thread_state(config) as state:
        engine = await make_engine()
        settings = AgentConfig(thread_wait_s=3, turn_timeout_s=20)
        simple = ScriptedChatModel(responses=[answer])
        react = ScriptedChatModel(responses=[reply])
        agents: dict[str, LangGraphAgent] = {
            "simple": SimpleAgent(llm_client=simple, rag_engine=engine, checkpointer=state.saver, config=settings),
            "react": ReactAgent(
                llm_client=react,
                rag_engine=engine,
                checkpointer=state.saver,
                config=settings,
                tools=[booking(effects)],
                ledger=state.ledger,
            ),
        }
        yield Conversations(agents, threads=state, config=settings)


def application(config: CheckpointConfig, effects: str) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with conversations(config, effects) as opened:
            app.state.conversations = opened
            yield

    async def ask(request: Request) -> JSONResponse:
        body = await request.json()
        try:
            found = await request.app.state.conversations.ask(
                f"turn {body['key']}", agent_type=body["agent"], thread_id=body["thread"], turn=Turn(id=body["key"])
            )
        except RAGentsError as error:
            return JSONResponse({"code": error.code, "error": str(error)}, 503)
        return JSONResponse({"answer": found.answer})

    async def thread(request: Request) -> JSONResponse:
        try:
            view = await request.app.state.conversations.thread(request.path_params["id"], principal=ANONYMOUS)
        except NotFound:
            return JSONResponse({"state": "idle", "messages": []})
        messages = [[message.type, message.id, message.text] for message in view.messages]
        return JSONResponse({"state": view.state, "messages": messages})

    return Starlette(routes=[Route("/ask", ask, methods=["POST"]), Route("/threads/{id}", thread)], lifespan=lifespan)


def main() -> None:
    port, backend, url, effects = sys.argv[1:]
    where = {"redis_url": url} if backend == "redis" else {"postgres_url": url}
    config = CheckpointConfig.model_validate(
        {"backend": backend, "statement_timeout_s": 3, "acquire_timeout_s": 2, "connect_timeout_s": 3, **where}
    )
    uvicorn.run(application(config, effects), host="127.0.0.1", port=int(port), log_level="error")


if __name__ == "__main__":
    main()
