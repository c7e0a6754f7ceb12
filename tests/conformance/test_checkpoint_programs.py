"""LangGraph's programs run unchanged over every durable saver, in each variant."""

import operator
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt

from ragents.agents.checkpointing.base import DurableSaver
from tests.savers import Store


class Log(TypedDict):
    log: Annotated[list[str], operator.add]


@pytest.fixture
async def saver(store: Store, variant: dict[str, Any]) -> AsyncIterator[DurableSaver]:
    async with store.open(**variant, max_checkpoints_per_thread=None) as opened:
        yield opened


@pytest.fixture
def config() -> dict[str, Any]:
    return {"configurable": {"thread_id": str(uuid.uuid4())}}


def said(word: str) -> Any:
    async def node(state: Log) -> Log:
        return {"log": [word]}

    return node


async def test_a_conversation_goes_on(saver: DurableSaver, config: dict[str, Any]) -> None:
    graph = StateGraph(Log).add_node("a", said("a")).add_edge(START, "a").compile(checkpointer=saver)

    for _ in range(3):
        state = await graph.ainvoke({"log": ["in"]}, config)

    assert state["log"] == ["in", "a"] * 3


async def test_parallel_sends_come_in_order(saver: DurableSaver, config: dict[str, Any]) -> None:
    async def worker(number: int) -> Log:
        return {"log": [f"{number}"]}

    graph = (
        StateGraph(Log)
        .add_node("worker", worker)
        .add_conditional_edges(START, lambda _: [Send("worker", number) for number in range(12)], ["worker"])
        .compile(checkpointer=saver)
    )

    assert (await graph.ainvoke({"log": []}, config))["log"] == [str(number) for number in range(12)]


async def test_a_subgraph_is_interrupted_in_a_loop(saver: DurableSaver, config: dict[str, Any]) -> None:
    async def ask(state: Log) -> Log:
        return {"log": [interrupt(f"question {len(state['log'])}")]}

    inner = StateGraph(Log).add_node("ask", ask).add_edge(START, "ask").compile()
    graph = (
        StateGraph(Log)
        .add_node("inner", inner)
        .add_edge(START, "inner")
        .add_conditional_edges("inner", lambda state: END if "stop" in state["log"] else "inner", ["inner", END])
        .compile(checkpointer=saver)
    )

    state = await graph.ainvoke({"log": []}, config)
    asked = [state["__interrupt__"][0].value]
    for answer in ("one", "two", "stop"):
        state = await graph.ainvoke(Command(resume=answer), config)
        asked += [each.value for each in state.get("__interrupt__", [])]

    assert len(asked) == 3
    assert state["log"][-1] == "stop"
    assert "one" in state["log"]


async def test_interrupts_survive_trimming(store: Store, config: dict[str, Any]) -> None:
    async def ask(state: Log) -> Log:
        return {"log": [interrupt("?")]}

    inner = StateGraph(Log).add_node("ask", ask).add_edge(START, "ask").compile()
    builder = StateGraph(Log).add_node("before", said("before")).add_node("inner", inner)
    builder.add_edge(START, "before").add_edge("before", "inner")
    async with store.open(max_checkpoints_per_thread=1) as saver:
        graph = builder.compile(checkpointer=saver)
        for turn in range(4):
            await graph.ainvoke({"log": []}, config)
            state = await graph.ainvoke(Command(resume=f"answer {turn}"), config)

    answers = dict.fromkeys(entry for entry in state["log"] if entry.startswith("answer"))
    assert list(answers) == [f"answer {turn}" for turn in range(4)]


async def test_state_is_updated_and_forked(saver: DurableSaver, config: dict[str, Any]) -> None:
    graph = StateGraph(Log).add_node("a", said("a")).add_node("b", said("b"))
    graph.add_edge(START, "a").add_edge("a", "b")
    compiled = graph.compile(checkpointer=saver)
    await compiled.ainvoke({"log": ["in"]}, config)
    (past,) = [each async for each in compiled.aget_state_history(config) if each.next == ("b",)]

    fork = await compiled.aupdate_state(past.config, {"log": ["changed"]}, as_node="a")
    forked = await compiled.ainvoke(None, fork)
    again = await compiled.ainvoke(None, past.config)

    assert forked["log"] == ["in", "a", "changed", "b"]
    assert again["log"] == ["in", "a", "b"]


async def test_tasks_of_an_entrypoint_run_once(saver: DurableSaver, config: dict[str, Any]) -> None:
    runs = []

    @task
    async def work(number: int) -> int:
        runs.append(number)
        return number * 2

    @entrypoint(checkpointer=saver)
    async def program(number: int, *, previous: int | None = None) -> Any:
        doubled = await work(number)
        answer = interrupt("go on?")
        return entrypoint.final(value=[doubled, answer, previous], save=doubled)

    await program.ainvoke(1, config)
    first = await program.ainvoke(Command(resume="yes"), config)
    await program.ainvoke(2, config)
    second = await program.ainvoke(Command(resume="yes"), config)

    assert (first, second) == ([2, "yes", None], [4, "yes", 2])
    assert runs == [1, 2]


async def test_an_agent_calls_its_tools(saver: DurableSaver, config: dict[str, Any]) -> None:
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    class Model(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **how: Any) -> Any:
            return self

    call = AIMessage("", tool_calls=[{"name": "add", "args": {"a": 2, "b": 3}, "id": "1"}])
    agent = create_agent(Model(messages=iter([call, AIMessage("5"), AIMessage("again")])), [add], checkpointer=saver)

    await agent.ainvoke({"messages": [HumanMessage("2 + 3?")]}, config)
    state = await agent.ainvoke({"messages": [HumanMessage("and?")]}, config)

    assert [message.type for message in state["messages"]] == ["human", "ai", "tool", "ai", "human", "ai"]
    assert state["messages"][2].content == "5"


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_delta_channels_keep_every_entry_while_trimmed(
    store: Store, variant: dict[str, Any], config: dict[str, Any], durability: Any
) -> None:
    class State(TypedDict):
        log: Annotated[list[str], DeltaChannel(lambda old, new: [*(old or []), *(e for part in new for e in part)])]

    async def node(state: State) -> dict[str, list[str]]:
        return {"log": [f"answer {len(state['log'])}"]}

    graph = StateGraph(State).add_node("node", node).add_edge(START, "node")
    async with store.open(**variant, max_checkpoints_per_thread=3) as saver:
        compiled = graph.compile(checkpointer=saver)
        for number in range(10):
            await compiled.ainvoke({"log": [f"question {number}"]}, config, durability=durability)
        state = (await compiled.aget_state(config)).values

    assert state["log"] == [f"{'answer' if n % 2 else 'question'} {n if n % 2 else n // 2}" for n in range(20)]


async def test_delta_channels_are_trimmed_behind_their_snapshot(store: Store, config: dict[str, Any]) -> None:
    class State(TypedDict):
        log: Annotated[
            list[str],
            DeltaChannel(lambda old, new: [*(old or []), *(e for part in new for e in part)], snapshot_frequency=4),
        ]

    async def node(state: State) -> dict[str, list[str]]:
        return {"log": ["a"]}

    graph = StateGraph(State).add_node("node", node).add_edge(START, "node")
    async with store.open(max_checkpoints_per_thread=3) as saver:
        compiled = graph.compile(checkpointer=saver)
        for _ in range(20):
            await compiled.ainvoke({"log": ["q"]}, config)
        state = (await compiled.aget_state(config)).values
        left = [each async for each in saver.alist(config)]

    assert state["log"] == ["q", "a"] * 20
    assert len(left) < 15
