"""An answer that is of its moment (cut short, late, of today) is given, and not kept for the next who asks."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from ragents.agents import AgentConfig, Turn
from ragents.agents.budget import Budget
from ragents.agents.conversations import Conversations
from ragents.agents.table import AGENTS
from ragents.config.rag_config import QueryConfig
from ragents.errors import RerankerUnavailable
from ragents.llm.client import LLMClient
from ragents.rag.rerank import Reranking
from ragents.rag.rerank.types import RerankConfig
from tests.doubles import ScriptedChatModel, WholeChatModel, calling, make_cache, make_engine

QUESTION = "Where does adaptive batching sit?"


class Failing:
    model = "r"

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        raise RerankerUnavailable("it is down")

    async def close(self) -> None: ...


async def layers(
    agent: str, *questions: str, turn: Turn | None = None, llm: LLMClient | None = None, **engine_has: Any
) -> list[str | None]:
    """By which layer of the cache each is answered."""
    engine = await make_engine(cache=make_cache(), llm=llm)
    for name, value in engine_has.items():
        setattr(engine, name, value)
    assert engine.llm is not None
    made = AGENTS[agent](llm_client=engine.llm, rag_engine=engine, config=AgentConfig(turn_timeout_s=20))
    conversations = Conversations({agent: made}, cache=engine.cache)
    return [
        (await conversations.ask(each, agent_type=agent, turn=turn or Turn())).response.cached for each in questions
    ]


@pytest.mark.parametrize("agent", AGENTS)
async def test_an_ordinary_answer_is_kept(agent: str) -> None:
    assert await layers(agent, QUESTION, QUESTION) == [None, "answer"]


@pytest.mark.parametrize("agent", AGENTS)
async def test_one_whose_sources_were_not_ranked_is_not(agent: str) -> None:
    reranking = Reranking(Failing(), RerankConfig())
    assert await layers(agent, QUESTION, QUESTION, reranking=reranking) == [None, None]


@pytest.mark.parametrize("agent", AGENTS)
async def test_one_without_the_queries_that_a_model_was_late_to_write_is_not(agent: str) -> None:
    async def slowly(messages: object) -> str:
        await asyncio.Event().wait()
        return ""

    engine = await make_engine()
    config = engine.config.model_copy(update={"query": QueryConfig(multi_query="llm", timeout_s=0.02)})
    llm = LLMClient.of(WholeChatModel(respond=slowly), name="slow")
    assert engine.llm is not None
    # The agent answers by the extractive model; the engine's own is the late one.
    made = await make_engine(cache=make_cache(), llm=llm)
    made.config = config
    agents = {agent: AGENTS[agent](llm_client=engine.llm, rag_engine=made)}
    conversations = Conversations(agents, cache=made.cache)
    answers = [await conversations.ask(QUESTION, agent_type=agent) for _ in range(2)]
    assert [each.response.cached for each in answers] == [None, None]


@pytest.mark.parametrize("agent", ["langgraph", "react"])
async def test_one_that_a_budget_cut_short_is_not(agent: str) -> None:
    first = {
        "langgraph": '{"relevant": [1], "enough": true}',
        "react": calling(("search_documents", {"query": QUESTION})),
    }[agent]

    def costly() -> LLMClient:
        return LLMClient.of(ScriptedChatModel(responses=[first]), name="costly")

    turn = Turn(budget=Budget(tokens=60))
    assert await layers(agent, QUESTION, QUESTION, turn=turn, llm=costly()) == [None, None]


@pytest.mark.parametrize("agent", ["logical", "react"])
async def test_a_calculation_with_today_is_another_one_tomorrow(agent: str) -> None:
    dated, plain = "What is today + 1 day?", "What is 3 + 4?"
    if agent == "react":
        model = ScriptedChatModel(
            responses=[calling(("calculate", {"expression": "today + 1 day"})), "Tomorrow.", "Tomorrow."] * 2
        )
        assert await layers(agent, dated, dated, llm=LLMClient.of(model, name="m")) == [None, None]
    else:
        assert await layers(agent, dated, dated) == [None, None]
    assert await layers(agent, plain, plain) == [None, "answer"]
