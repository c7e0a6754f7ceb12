"""Conversations: turns that are held, go on after a crash, stop cleanly, and stream."""

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from ragents.agents import AgentConfig, Turn
from ragents.agents.checkpointing import CheckpointConfig, ThreadState, open_thread_state
from ragents.agents.conversations import Conversations
from ragents.agents.langgraph_base import AgentState, Graph, LangGraphAgent, stored, thread_key
from ragents.agents.react import ReactAgent
from ragents.agents.simple import SimpleAgent
from ragents.agents.threads import CUT_OFF
from ragents.errors import BudgetExceeded, Conflict, NotFound, ThreadBusy
from ragents.principal import ANONYMOUS, Principal
from ragents.rag.types import RAGResponse
from tests.doubles import ScriptedChatModel, make_cache, make_engine


class Fragile(LangGraphAgent):
    """Two steps; the second crashes as often as it is told to."""

    name, description = "fragile", "breaks"
    crashes = 0
    runs: list[str] = []

    @property
    def last_node(self) -> str:
        return "second"

    def build_graph(self) -> Graph:
        graph: Graph = StateGraph(AgentState, context_schema=Turn)
        graph.add_node("first", self._first)
        graph.add_node("second", self._second)
        graph.add_edge(START, "first")
        graph.add_edge("first", "second")
        graph.add_edge("second", END)
        return graph

    async def _first(self, state: AgentState, runtime: Runtime[Turn]) -> AgentState:
        self.runs.append("first")
        runtime.stream_writer({"status": "beginning"})
        return {"response": stored(RAGResponse(str(state["messages"][-1].content)))}

    async def _second(self, state: AgentState, runtime: Runtime[Turn]) -> AgentState:
        self.runs.append("second")
        if self.crashes:
            self.crashes -= 1
            raise RuntimeError("crash")
        await asyncio.sleep(0.05)
        answer = f"answer to {state['messages'][-1].content}"
        return {"messages": [AIMessage(answer)], "response": stored(RAGResponse("q", answer=answer))}


async def make(threads: ThreadState, **config: Any) -> tuple[Conversations, Fragile]:
    engine = await make_engine()
    assert engine.llm is not None
    settings = AgentConfig(**config)
    agent = Fragile(llm_client=engine.llm, rag_engine=engine, checkpointer=threads.saver, config=settings)
    agent.runs = []
    return Conversations({"fragile": agent}, threads=threads, config=settings), agent


@pytest.fixture
async def threads() -> Any:
    async with open_thread_state(CheckpointConfig(backend="memory")) as state:
        yield state


def roles(messages: Any) -> list[str]:
    return [message.type for message in messages]


async def test_a_turn_that_crashed_goes_on_where_it_was(threads: ThreadState) -> None:
    conversations, agent = await make(threads)
    agent.crashes, turn = 1, Turn(id="k1")
    with pytest.raises(RuntimeError):
        await conversations.ask("q", agent_type="fragile", thread_id="t", turn=turn)
    assert (await conversations.thread("t", principal=ANONYMOUS)).state == "interrupted"
    answer = await conversations.ask("q", agent_type="fragile", thread_id="t", turn=turn)
    assert answer.answer == "answer to q"
    assert agent.runs == ["first", "second", "second"], "the first step is not run again"
    view = await conversations.thread("t", principal=ANONYMOUS)
    assert (view.state, roles(view.messages)) == ("idle", ["human", "ai"])


async def test_a_turn_that_crashed_can_be_resumed_by_hand(threads: ThreadState) -> None:
    conversations, agent = await make(threads)
    agent.crashes = 1
    with pytest.raises(RuntimeError):
        await conversations.ask("q", agent_type="fragile", thread_id="t", turn=Turn(id="k1"))
    assert (await conversations.resume(None, thread_id="t")).answer == "answer to q"
    told = await conversations.ask("q", agent_type="fragile", thread_id="t", turn=Turn(id="k1"))
    assert told.answer == "answer to q"
    assert agent.runs.count("second") == 2


async def test_another_question_closes_a_turn_that_was_cut_off(threads: ThreadState) -> None:
    conversations, agent = await make(threads)
    agent.crashes = 1
    with pytest.raises(RuntimeError):
        await conversations.ask("q1", agent_type="fragile", thread_id="t", turn=Turn(id="k1"))
    await conversations.ask("q2", agent_type="fragile", thread_id="t", turn=Turn(id="k2"))
    messages = (await conversations.thread("t", principal=ANONYMOUS)).messages
    assert [str(m.content) for m in messages] == ["q1", CUT_OFF, "q2", "answer to q2"]


@pytest.mark.parametrize("crashes", [1, 2])
async def test_a_turn_that_was_cut_off_never_runs_again(threads: ThreadState, crashes: int) -> None:
    """Neither while the question that cut it off goes well, nor when that one has crashed as well."""
    conversations, agent = await make(threads)
    agent.crashes = crashes
    with pytest.raises(RuntimeError):
        await conversations.ask("q1", agent_type="fragile", thread_id="t", turn=Turn(id="k1"))
    if crashes == 2:
        with pytest.raises(RuntimeError):
            await conversations.ask("q2", agent_type="fragile", thread_id="t", turn=Turn(id="k2"))
    else:
        await conversations.ask("q2", agent_type="fragile", thread_id="t", turn=Turn(id="k2"))
    runs = list(agent.runs)
    with pytest.raises(Conflict, match="cut off"):
        await conversations.ask("q1", agent_type="fragile", thread_id="t", turn=Turn(id="k1"))
    assert agent.runs == runs
    answer = await conversations.ask("q2", agent_type="fragile", thread_id="t", turn=Turn(id="k2"))
    assert answer.answer == "answer to q2", "and the other turn is none the worse for it"


async def test_an_answered_turn_is_told_again_while_a_later_one_is_open(threads: ThreadState) -> None:
    conversations, agent = await make(threads)
    await conversations.ask("q1", agent_type="fragile", thread_id="t", turn=Turn(id="k1"))
    agent.crashes = 1
    with pytest.raises(RuntimeError):
        await conversations.ask("q2", agent_type="fragile", thread_id="t", turn=Turn(id="k2"))
    told = await conversations.ask("q1", agent_type="fragile", thread_id="t", turn=Turn(id="k1"))
    assert told.answer == "answer to q1"
    assert (await conversations.thread("t", principal=ANONYMOUS)).state == "interrupted"
    assert (await conversations.resume(None, thread_id="t")).answer == "answer to q2"


@pytest.mark.parametrize("other", [Principal("default", "someone"), Principal("elsewhere", "anonymous")])
async def test_a_foreign_thread_reads_as_an_unknown_one(threads: ThreadState, other: Principal) -> None:
    conversations, _ = await make(threads)
    await conversations.ask("q", agent_type="fragile", thread_id="t")
    for work in (
        conversations.thread("t", principal=other),
        conversations.forget("t", principal=other),
        conversations.resume("x", thread_id="t", turn=Turn(principal=other)),
    ):
        with pytest.raises(NotFound, match="no thread 't'"):
            await work
    assert roles((await conversations.thread("t", principal=ANONYMOUS)).messages) == ["human", "ai"]


async def test_a_second_turn_waits_or_is_refused_by_setting(threads: ThreadState) -> None:
    waiting, _ = await make(threads)
    await asyncio.gather(*(waiting.ask(f"q{n}", agent_type="fragile", thread_id="t") for n in range(4)))
    assert roles((await waiting.thread("t", principal=ANONYMOUS)).messages) == ["human", "ai"] * 4
    refusing, _ = await make(threads, concurrent_turns="refuse")
    found = await asyncio.gather(
        *(refusing.ask(f"q{n}", agent_type="fragile", thread_id="u") for n in range(3)), return_exceptions=True
    )
    assert sorted(type(each) is ThreadBusy for each in found) == [False, True, True]


async def test_nothing_to_resume_is_a_conflict(threads: ThreadState) -> None:
    conversations, _ = await make(threads)
    await conversations.ask("q", agent_type="fragile", thread_id="t")
    for reply in (None, "x"):
        with pytest.raises(Conflict):
            await conversations.resume(reply, thread_id="t")


async def test_an_erased_thread_leaves_nothing_in_the_ledger(threads: ThreadState) -> None:
    conversations, _ = await make(threads)
    await conversations.ask("q", agent_type="fragile", thread_id="t")
    key = thread_key(ANONYMOUS, "t")
    await threads.ledger.begin(key, "call")
    await conversations.forget("t", principal=ANONYMOUS)
    assert (await threads.ledger.begin(key, "call")).state == "new"
    with pytest.raises(NotFound):
        await conversations.thread("t", principal=ANONYMOUS)


async def test_a_turn_out_of_steps_says_what_is_known(threads: ThreadState) -> None:
    conversations, _ = await make(threads, max_steps=1)
    answer = await conversations.ask("q", agent_type="fragile", thread_id="t")
    assert "1 steps" in answer.response.notes[-1]
    view = await conversations.thread("t", principal=ANONYMOUS)
    assert (view.state, roles(view.messages)) == ("idle", ["human", "ai"])


async def test_a_turn_out_of_tokens_says_what_is_known(threads: ThreadState, monkeypatch: pytest.MonkeyPatch) -> None:
    async def spent(*_: object, **__: object) -> AgentState:
        raise BudgetExceeded("the turn has spent 5 of 4 tokens")

    monkeypatch.setattr(Fragile, "_second", spent)
    conversations, _ = await make(threads)
    answer = await conversations.ask("q", agent_type="fragile", thread_id="t")
    assert "5 of 4 tokens" in answer.response.notes[-1]
    assert (await conversations.thread("t", principal=ANONYMOUS)).state == "idle"


async def test_a_turn_streams_its_steps_its_tokens_and_its_answer(threads: ThreadState) -> None:
    engine = await make_engine()
    model = ScriptedChatModel(responses=["Batching sits at the encoder [1]."])
    agent = SimpleAgent(llm_client=model, rag_engine=engine, checkpointer=threads.saver)
    events = [event async for event in agent.stream("Where does batching sit?", thread_id="t")]
    assert "".join(e.text for e in events if e.kind == "token" and e.node == "answer") == model.responses[0]
    assert [e.kind for e in events if e.kind != "token"] == ["status", "status", "sources", "done"]
    sources = events[2]
    assert sources.kind == "sources", "before the first token"
    assert sources.found is not None
    assert sources.found.sources
    assert events[-1].answer is not None
    assert events[-1].retracted == ()
    assert events[-1].answer.answer == "Batching sits at the encoder [1]."


async def test_a_stream_that_fails_raises_and_one_that_is_left_cancels(threads: ThreadState) -> None:
    conversations, agent = await make(threads)
    agent.crashes = 1
    with pytest.raises(RuntimeError):
        [event async for event in agent.stream("q", thread_id="t")]
    stream = agent.stream("q", thread_id="u")
    assert (await anext(stream)).text == "beginning"
    await stream.aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(20):
        while (await conversations.thread("u", principal=ANONYMOUS)).state != "interrupted":
            await asyncio.sleep(0.01)
    assert (await conversations.resume(None, thread_id="u")).answer == "answer to q"
    assert agent.runs.count("first") == 2, "once per thread"


async def test_an_agent_whose_tools_have_effects_is_not_answered_from_the_cache(threads: ThreadState) -> None:
    from ragents.agents.tools import create_tool

    async def send(to: str) -> str:
        """Send a letter."""
        return to

    engine = await make_engine(cache=(cache := make_cache()))
    assert engine.llm is not None
    agents: list[LangGraphAgent] = [
        ReactAgent(llm_client=engine.llm, rag_engine=engine, tools=tools)
        for tools in ([], [create_tool(send, side_effects=True)])
    ]
    for agent, expected in zip(agents, ("answer", None), strict=True):
        conversations = Conversations({"react": agent}, cache=cache)
        answers = [await conversations.ask("Where does the cat sleep?", agent_type="react") for _ in range(2)]
        assert answers[1].response.cached == expected


def test_the_pictures_in_the_docs_are_those_of_the_agents() -> None:
    from pathlib import Path

    from ragents.agents.table import AGENTS
    from ragents.cli.agents import mermaid, replaced

    text = Path("docs/agents.md").read_text(encoding="utf-8")
    drawn = text
    for name, agent in AGENTS.items():
        drawn = replaced(drawn, name, mermaid(agent))
    assert drawn == text, "run: ragents agents draw all --into docs/agents.md"
