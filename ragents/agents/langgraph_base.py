"""LangGraphAgent: the base of all agents. An agent is a graph; this class runs it on a thread."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any, ClassVar, TypedDict
from urllib.parse import quote

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.errors import GraphRecursionError
from langgraph.graph import StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Interrupt, StateSnapshot

from ragents.agents.first_turns import FirstTurns
from ragents.agents.speech import Speech
from ragents.agents.threads import CUT_OFF, RESPONSE, pending_of
from ragents.agents.types import AgentAnswer, AgentConfig, AgentEvent, Pending, ThreadKey, Turn, new_thread_id
from ragents.errors import BudgetExceeded
from ragents.llm.asked import asked_by
from ragents.llm.client import LLMClient
from ragents.principal import Principal
from ragents.rag.engine import RAGEngine
from ragents.rag.types import RAGResponse
from ragents.tracing import span

MAX_EVENTS = 1_000
"""Of a turn whose reader is slow; then the turn waits for the reader."""
GRACE = 1.1
"""Agents that can end a turn in time by themselves do it better than being cut off."""


class AgentState(TypedDict, total=False):
    """What a thread keeps: the conversation, and the last turn's response as plain JSON values.

    Plain values, since a checkpoint must be read back without importing anything that a row names.
    """

    messages: Annotated[list[BaseMessage], add_messages]
    response: dict[str, Any]


Graph = StateGraph[AgentState, Turn, AgentState, AgentState]
CompiledGraph = CompiledStateGraph[AgentState, Turn, AgentState, AgentState]


class LangGraphAgent(ABC):
    """Subclasses name themselves and build their graph; its last node must leave `response` and an AIMessage.

    `llm_client` is a LangChain BaseChatModel or an LLMClient. Nothing that is handed in is closed here. A turn that
    runs out of steps, tokens or seconds ends with what is known so far, and says so.
    """

    name: ClassVar[str]
    description: ClassVar[str]

    def __init__(
        self,
        *,
        llm_client: BaseChatModel | LLMClient,
        rag_engine: RAGEngine,
        checkpointer: BaseCheckpointSaver[str] | None = None,
        config: AgentConfig | None = None,
    ) -> None:
        self.config = config or AgentConfig()
        self.llm = llm_client if isinstance(llm_client, LLMClient) else LLMClient.of(llm_client)
        self.engine = rag_engine
        self.graph: CompiledGraph = self.build_graph().compile(checkpointer=checkpointer, name=self.name)
        self._first_turns = FirstTurns(self.graph, last_node=self.last_node)

    @abstractmethod
    def build_graph(self) -> Graph: ...

    @property
    @abstractmethod
    def last_node(self) -> str:
        """The node that leaves the answer; a turn that comes from the cache is stored as if this node had run."""

    @property
    def identity(self) -> list[str]:
        """What a cached answer depends on, besides this package's code. An agent of your own adds its prompts here."""
        return [self.name]

    @property
    def cacheable(self) -> bool:
        """Whether an equal question may be answered from the cache: not when a tool has effects."""
        return True

    def known_so_far(self, state: AgentState) -> RAGResponse:
        """What this turn has found, for a turn that is cut off. Asks no model."""
        question = str(next(m for m in reversed(state["messages"]) if m.type == "human").content).strip()
        found = RESPONSE.validate_python(state["response"]) if state.get("response") else RAGResponse(question)
        return found if found.query == question else RAGResponse(question)

    @property
    def speaking(self) -> frozenset[str]:
        """The nodes whose model writes the answer: what it writes elsewhere is no reader's business."""
        return frozenset({self.last_node})

    async def process_message(
        self,
        message: str,
        *,
        thread_id: str | None = None,
        turn: Turn | None = None,
        fence: int | None = None,
        speech: Speech | None = None,
    ) -> AgentAnswer:
        """Answer `message` on its thread (a new one without `thread_id`). Stored before it returns.

        `fence`: the number under which the caller holds the thread. `speech`: told the answer while it is written; the
        caller ends it. Raises what engine and model raise.
        """
        turn = turn or Turn()
        thread_id = thread_id or new_thread_id()
        return await self._run(_asked(message, turn), thread_id=thread_id, turn=turn, fence=fence, speech=speech)

    async def resume(
        self,
        reply: str | None,
        *,
        thread_id: str,
        turn: Turn,
        fence: int | None = None,
        speech: Speech | None = None,
    ) -> AgentAnswer:
        """Go on: with the answer to what the agent asked, or (None) with a turn that a crash cut off."""
        command: Command[Any] | None = None if reply is None else Command(resume=reply)
        return await self._run(command, thread_id=thread_id, turn=turn, fence=fence, speech=speech)

    async def stream(
        self, message: str, *, thread_id: str | None = None, turn: Turn | None = None
    ) -> AsyncIterator[AgentEvent]:
        """The turn's steps and tokens as they come; "done", with the checked answer, is the last.

        Leaving the iteration cancels the turn.
        """
        turn = turn or Turn()
        events: asyncio.Queue[AgentEvent | None] = asyncio.Queue(MAX_EVENTS)

        async def run() -> None:
            speech = Speech(events.put)
            try:
                await speech.end(await self.process_message(message, thread_id=thread_id, turn=turn, speech=speech))
            finally:
                with suppress(asyncio.QueueFull):
                    events.put_nowait(None)

        task = asyncio.create_task(run())
        try:
            while not (task.done() and events.empty()):
                event = await events.get()
                if event is None:
                    break
                yield event
            await task
        finally:
            task.cancel()
            with suppress(BaseException):
                await task

    async def snapshot(self, thread_id: str, *, principal: Principal) -> StateSnapshot | None:
        """The thread's state; None without a checkpointer."""
        if self.graph.checkpointer is None:
            return None
        return await self.graph.aget_state(thread_config(principal, thread_id))

    async def history(self, thread_id: str, *, principal: Principal) -> list[BaseMessage]:
        """The conversation so far; empty for a thread that is not there or not the principal's."""
        snapshot = await self.snapshot(thread_id, principal=principal)
        messages: list[BaseMessage] = snapshot.values.get("messages", []) if snapshot else []
        return messages

    async def append_turn(
        self,
        message: str,
        response: RAGResponse,
        *,
        thread_id: str,
        turn: Turn,
        fence: int | None = None,
        new: bool = False,
    ) -> None:
        """Store a turn that was answered without running the graph (from the cache).

        `new`: nobody else knows the thread yet, and there is nothing of it to read.
        """
        saver = self.graph.checkpointer
        if not isinstance(saver, BaseCheckpointSaver):
            return
        messages = [*turn.history, HumanMessage(message, id=turn.id), AIMessage(response.answer or "")]
        config = self._thread(thread_id, turn, fence)
        if new:
            await self._first_turns.put(saver, config, messages, stored(response))
        else:
            update = {"messages": messages, "response": stored(response)}
            await self.graph.aupdate_state(config, update, as_node=self.last_node)

    async def close_turn(self, thread_id: str, *, turn: Turn, fence: int | None = None) -> None:
        """End a turn that waits or was cut off, because another question has come: the thread says that it did."""
        config = self._thread(thread_id, turn, fence)
        snapshot = await self.graph.aget_state(config)
        pending = pending_of(snapshot.interrupts)
        update: AgentState = {"messages": [AIMessage(pending.question if pending else CUT_OFF)]}
        await self.graph.aupdate_state(config, update, as_node=self.last_node)

    def asked_back(self, values: dict[str, Any], pending: Pending, thread_id: str) -> AgentAnswer:
        response = replace(self.known_so_far(_as_state(values)), answer=pending.question, model=self.llm.name)
        return AgentAnswer(thread_id, self.name, response, pending)

    def _thread(self, thread_id: str, turn: Turn, fence: int | None) -> RunnableConfig:
        config = thread_config(turn.principal, thread_id, fence=fence)
        return {**config, "metadata": {"agent": self.name, "turn": turn.id}, "recursion_limit": self.config.max_steps}

    async def _run(
        self,
        given: AgentState | Command[Any] | None,
        *,
        thread_id: str,
        turn: Turn,
        fence: int | None = None,
        speech: Speech | None = None,
    ) -> AgentAnswer:
        attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": self.name}
        with span(f"invoke_agent {self.name}", attributes):
            return await self._run_graph(given, thread_id=thread_id, turn=turn, fence=fence, speech=speech)

    async def _run_graph(
        self,
        given: AgentState | Command[Any] | None,
        *,
        thread_id: str,
        turn: Turn,
        fence: int | None,
        speech: Speech | None,
    ) -> AgentAnswer:
        budget = turn.budget.within(tokens=self.config.max_tokens_per_turn, seconds=self.config.turn_timeout_s)
        turn = replace(turn, budget=budget)
        config = self._thread(thread_id, turn, fence)
        state: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
        interrupts: Sequence[Interrupt] = ()
        try:
            with asked_by(turn.principal.tenant, read_along=speech is not None):
                async with asyncio.timeout(budget.seconds * GRACE):
                    async for mode, part in self.graph.astream(
                        given,
                        config=config,
                        context=turn,
                        stream_mode=["values", "custom", "messages"] if speech else ["values"],
                        durability="sync" if self.graph.checkpointer else None,
                    ):
                        if mode == "values":
                            values: Any = part
                            state, interrupts = values, values.get("__interrupt__", ())
                        elif speech is not None:
                            await self._tell(speech, mode, part, state)
        except TimeoutError:
            return await self._stopped(state, f"the turn has taken its {budget.seconds:g} s", thread_id, config)
        except GraphRecursionError:
            return await self._stopped(
                state, f"the turn has taken its {self.config.max_steps} steps", thread_id, config
            )
        except BudgetExceeded as error:
            return await self._stopped(state, str(error), thread_id, config)
        if (pending := pending_of(interrupts)) is not None:
            return self.asked_back(state, pending, thread_id)
        return AgentAnswer(thread_id, self.name, RESPONSE.validate_python(state["response"]))

    async def _tell(self, speech: Speech, mode: str, part: Any, state: dict[str, Any]) -> None:
        match mode, part:
            case "custom", {"status": str(text)}:
                await speech.status(text)
            case "messages", (AIMessageChunk() as chunk, {"langgraph_node": str(node)}) if (
                chunk.text and node in self.speaking
            ):
                await speech.token(chunk.text, lambda: self.known_so_far(_as_state(state)), node=node)

    async def _stopped(self, state: dict[str, Any], why: str, thread_id: str, config: RunnableConfig) -> AgentAnswer:
        """The clean stop: the answer is what is known so far, the thread keeps it, and nothing of the turn is left."""
        if self.graph.checkpointer is not None:
            state = dict((await self.graph.aget_state(config)).values)
        known = self.known_so_far(_as_state(state))
        note = f"stopped: {why}; this is what is known so far"
        response = replace(
            known,
            answer=known.answer or _known_in_words(known),
            model=known.model or self.llm.name,
            notes=(*known.notes, note),
            passing=True,
        )
        if self.graph.checkpointer is not None:
            update: AgentState = {"messages": [AIMessage(response.answer or "")], "response": stored(response)}
            await self.graph.aupdate_state(config, update, as_node=self.last_node)
        return AgentAnswer(thread_id, self.name, response)


def thread_key(principal: Principal, thread_id: str) -> ThreadKey:
    """A thread belongs to one tenant and user: the stored id holds all three, quoted so that no two can read alike."""
    parts = (principal.tenant, principal.user, thread_id)
    return ThreadKey(principal.tenant, ":".join(quote(part, safe="") for part in parts))


def thread_config(principal: Principal, thread_id: str, *, fence: int | None = None) -> RunnableConfig:
    key = thread_key(principal, thread_id)
    where: dict[str, Any] = {"tenant": key.tenant, "thread_id": key.thread}
    return {"configurable": where if fence is None else {**where, "__fence": fence}}


def stored(response: RAGResponse) -> dict[str, Any]:
    values: dict[str, Any] = RESPONSE.dump_python(response, mode="json")
    return values


def _asked(message: str, turn: Turn) -> AgentState:
    return {"messages": [*turn.history, HumanMessage(message, id=turn.id)]}


def _as_state(values: dict[str, Any]) -> AgentState:
    state: Any = values
    return state  # type: ignore[no-any-return]  # what LangGraph gives back is a plain dict


def _known_in_words(known: RAGResponse) -> str:
    titles = list(dict.fromkeys(source.title or source.uri for source in known.sources))[:3]
    found = (
        f" The passages found so far are from: {', '.join(titles)}." if titles else " Nothing has been found so far."
    )
    return "The answer could not be finished." + found
