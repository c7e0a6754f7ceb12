"""First turns stored by the pattern: nobody can tell them from LangGraph's own."""

from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage

from ragents.agents import Turn
from ragents.agents.checkpointing import CheckpointConfig, open_thread_state
from ragents.agents.langgraph_base import LangGraphAgent, stored, thread_config
from ragents.agents.table import AGENTS
from ragents.principal import ANONYMOUS
from ragents.rag.types import RAGResponse
from tests.doubles import make_engine

RESPONSE = RAGResponse("Where?", answer="At the encoder.")
EARLIER = (HumanMessage("Who?", id="h0"), AIMessage("The service.", id="a0"))


async def read(agent: LangGraphAgent, thread: str) -> dict[str, Any]:
    found = await agent.graph.aget_state(thread_config(ANONYMOUS, thread))
    kept = agent.graph.checkpointer
    assert not isinstance(kept, bool | None)
    row = await kept.aget_tuple(thread_config(ANONYMOUS, thread))
    assert row is not None
    versions = row.checkpoint["channel_versions"]
    return {
        "said": [(m.type, m.content) for m in found.values["messages"]],
        "ids": [bool(m.id) for m in found.values["messages"]],
        "response": found.values["response"],
        "channels": sorted(found.values),
        "next": found.next,
        "tasks": found.tasks,
        "metadata": found.metadata,
        "versions": {channel: str(version).split(".")[0] for channel, version in versions.items()},
        "seen": {node: sorted(each) for node, each in row.checkpoint["versions_seen"].items()},
        "updated": row.checkpoint.get("updated_channels"),
        "format": row.checkpoint["v"],
    }


@pytest.mark.parametrize("name", [*AGENTS])
@pytest.mark.parametrize("history", [(), EARLIER], ids=["no history", "a history"])
async def test_a_turn_by_the_pattern_reads_as_one_by_langgraph(name: str, history: tuple[Any, ...]) -> None:
    engine = await make_engine()
    async with open_thread_state(CheckpointConfig(backend="memory")) as threads:
        agent = AGENTS[name](
            llm_client=FakeListChatModel(responses=["unused"]), rag_engine=engine, checkpointer=threads.saver
        )
        turn = Turn(id="turn-1", history=history)
        await agent.append_turn("Where?", RESPONSE, thread_id="pattern made", turn=Turn(id="turn-0"), new=True)
        await agent.append_turn("Where?", RESPONSE, thread_id="by pattern", turn=turn, new=True)
        await agent.append_turn("Where?", RESPONSE, thread_id="by langgraph", turn=turn)
        mine, theirs = await read(agent, "by pattern"), await read(agent, "by langgraph")
        assert mine == theirs
        assert mine["said"][-2:] == [("human", "Where?"), ("ai", "At the encoder.")]
        assert len(mine["said"]) == 2 + len(history)
        assert mine["response"] == stored(RESPONSE)
        assert all(mine["ids"])


async def test_a_thread_begun_by_the_pattern_goes_on() -> None:
    engine = await make_engine()
    async with open_thread_state(CheckpointConfig(backend="memory")) as threads:
        agent = AGENTS["simple"](
            llm_client=FakeListChatModel(responses=["In the batcher [1]."]),
            rag_engine=engine,
            checkpointer=threads.saver,
        )
        await agent.append_turn("Where?", RESPONSE, thread_id="t", turn=Turn(id="turn-1"), new=True)
        await agent.process_message("And where does it wait?", thread_id="t", turn=Turn(id="turn-2"))
        said = [(m.type, m.id) for m in await agent.history("t", principal=ANONYMOUS)]
    assert [kind for kind, _ in said] == ["human", "ai", "human", "ai"]
    assert [name for kind, name in said if kind == "human"] == ["turn-1", "turn-2"]
