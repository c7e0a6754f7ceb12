"""The graph of the react agent: reason -> (tools -> reason)* -> answer."""

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.config import get_config
from langgraph.graph import END, START, StateGraph
from langgraph.managed import RemainingSteps
from langgraph.runtime import Runtime

from ragents.agents.asking import seconds_to_ask
from ragents.agents.langgraph_base import AgentState, Graph, LangGraphAgent, stored
from ragents.agents.react.known import Known
from ragents.agents.react.messages import (
    UNREADABLE,
    build_prompt,
    call_key,
    calls_of,
    results_of,
    with_sound_calls,
)
from ragents.agents.react.rules import next_call
from ragents.agents.steps import step
from ragents.agents.tools import Ledger, MemoryLedger, Tool, ToolContext, ToolResult, create_tools
from ragents.agents.tools.rendering import rendered
from ragents.agents.turns import TurnState, found_in, question_of, this_turn, with_ms
from ragents.agents.types import AgentConfig, ThreadKey, Turn
from ragents.errors import BudgetExceeded, ModelUnavailable
from ragents.llm.client import LLMClient
from ragents.llm.extractive import extractive_client
from ragents.rag.answering import cut
from ragents.rag.confidence import confidence_of
from ragents.rag.engine import RAGEngine
from ragents.rag.types import RAGResponse

MAX_CALLS = 8
"""Tools run at once: the calls of one message beyond it are refused."""
STEPS_TO_ACT = 4
"""Steps that must be left when tools are called: the tools, the next reasoning, the answer, and one to spare."""


class ReactState(TurnState, total=False):
    """`draft` is the model's answer before its citations are checked, `stopped` says why nothing more may be done."""

    draft: str
    stopped: str
    remaining_steps: RemainingSteps


class ReactAgent(LangGraphAgent):
    """`tools` are the user's own, beside the built-in ones; `ledger` is where those with side effects are recorded.

    A thread that outlives the process needs a ledger that does too.
    """

    name: ClassVar[str] = "react"
    description: ClassVar[str] = "Reasons and acts with tools: searches, opens documents, calculates, and yours."

    def __init__(
        self,
        *,
        llm_client: BaseChatModel | LLMClient,
        rag_engine: RAGEngine,
        checkpointer: BaseCheckpointSaver[str] | None = None,
        config: AgentConfig | None = None,
        tools: Sequence[Tool] = (),
        ledger: Ledger | None = None,
    ) -> None:
        self.tools = create_tools(tools)
        self.ledger = ledger or MemoryLedger()
        self.unpaid = extractive_client(rag_engine.embedder.embed_documents)
        super().__init__(llm_client=llm_client, rag_engine=rag_engine, checkpointer=checkpointer, config=config)

    @property
    def last_node(self) -> str:
        return "answer"

    @property
    def speaking(self) -> frozenset[str]:
        return frozenset({"reason", "answer"})

    @property
    def identity(self) -> list[str]:
        return [self.name, self.tools.fingerprint]

    @property
    def cacheable(self) -> bool:
        return not self.tools.side_effects

    def build_graph(self) -> Graph:
        graph = StateGraph(ReactState, context_schema=Turn)
        graph.add_node("reason", step("reason", self._reason))
        graph.add_node("tools", step("tools", self._act))
        graph.add_node("answer", step("answer", self._answer))
        graph.add_edge(START, "reason")
        graph.add_conditional_edges("reason", _after_reasoning)
        graph.add_edge("tools", "reason")
        graph.add_edge("answer", END)
        return cast("Graph", graph)  # a graph of more state is one of AgentState; the types cannot say so

    def known_so_far(self, state: AgentState) -> RAGResponse:
        """For a turn that was cut off. Asks no model."""
        return self._known(cast("ReactState", state)).in_short()

    async def _reason(self, state: ReactState, runtime: Runtime[Turn]) -> ReactState:
        runtime.stream_writer({"status": "thinking"})
        found = found_in(state)
        begun = ReactState(question_id=question_of(state).id, draft="", stopped="", response=stored(found))
        try:
            runtime.context.budget.check()
        except BudgetExceeded as error:
            return {**begun, "stopped": f"{error}; this is what is known so far"}
        if not self.llm.calls_tools:
            return {**begun, **self._reason_by_rules(state, found)}
        try:
            return {**begun, **await self._reason_by_model(state, found, runtime.context)}
        except ModelUnavailable:
            # A client with the extractive model to fall back on answers, also when no model can choose the tools.
            if all(each.model._llm_type != "extractive" for each in self.llm.models):
                raise
            return {**begun, **self._reason_by_rules(state, found)}

    async def _reason_by_model(self, state: ReactState, found: RAGResponse, turn: Turn) -> ReactState:
        last = self._steps_left(state) < STEPS_TO_ACT
        budget, started = turn.budget, time.perf_counter()
        room = self.llm.prompt_tokens(turn.max_tokens)
        prompt = build_prompt(state["messages"], last=last, room=room, tools_tokens=self.tools.tokens)
        try:
            async with asyncio.timeout(seconds_to_ask(budget)):
                said = await self.llm.generate(prompt, max_tokens=turn.max_tokens, tools=self.tools.schemas)
        except TimeoutError:
            return {"stopped": f"the turn has taken its {budget.seconds:g} s; this is what is known so far"}
        stopped = f"stopped after {self.config.max_steps} steps; this is what is known so far" if last else ""
        message = with_sound_calls(said.message, state["messages"])
        try:
            budget.charge(said.usage)
        except BudgetExceeded as error:  # an answer that is paid for is given
            stopped = f"{error}; this is what is known so far" if message.tool_calls else stopped
        timings = with_ms(found.timings, "generate_ms", time.perf_counter() - started)
        found = replace(found, model=said.model, usage=found.usage + said.usage, timings=timings)
        response = stored(found)
        if not message.tool_calls:
            return {"response": stored(cut(found, said.ending)), "stopped": stopped, "draft": message.text.strip()}
        if stopped:  # calls that will not be run are not stored: no model takes a call without its result
            return {"response": response, "stopped": stopped}
        return {"response": response, "messages": [message]}

    def _reason_by_rules(self, state: ReactState, found: RAGResponse) -> ReactState:
        earlier, turn = this_turn(state["messages"])
        call = next_call(
            found.query,
            history=earlier,
            results=results_of(turn),
            found=found,
            min_confidence=self.engine.config.min_confidence,
        )
        if call is None or self._steps_left(state) < STEPS_TO_ACT:
            return {}
        made = ToolCall(name=call[0], args=dict(call[1]), id=f"call_{len(turn)}")
        return {"messages": [AIMessage("", tool_calls=[made], id=str(uuid.uuid4()))]}

    async def _act(self, state: ReactState, runtime: Runtime[Turn]) -> ReactState:
        message, found, started = state["messages"][-1], found_in(state), time.perf_counter()
        calls = calls_of(message)
        runtime.stream_writer({"status": f"using {', '.join(call['name'] for call in calls)}"})
        results = await asyncio.gather(
            *(self._call(message, n, found, runtime.context) for n in range(len(calls))), return_exceptions=True
        )
        messages, sources, usage, passing = list[BaseMessage](), found.sources, found.usage, found.passing
        for call, result in zip(calls, results, strict=True):
            if isinstance(result, BaseException):
                raise result  # now that all have ended: no tool is torn from its work by another's failure
            text, sources = rendered(result, sources)
            usage += result.usage
            passing = passing or result.passing
            status: Literal["error", "success"] = "error" if result.failed else "success"
            messages.append(ToolMessage(text, tool_call_id=call["id"], name=call["name"], status=status))
        timings = with_ms(found.timings, "retrieve_ms", time.perf_counter() - started)
        # A question that leans on the conversation has few words of its own: what was searched for has them.
        asked = [found.query, *(str(call["args"]["query"]) for call in calls if "query" in call["args"])]
        confidence = max(confidence_of(text, sources) for text in asked)
        response = replace(found, sources=sources, confidence=confidence, usage=usage, timings=timings, passing=passing)
        return {"messages": messages, "response": stored(response)}

    async def _call(self, message: BaseMessage, n: int, found: RAGResponse, turn: Turn) -> ToolResult:
        call = calls_of(message)[n]
        if n >= MAX_CALLS:
            return ToolResult(f"Error: not run, only {MAX_CALLS} tools run at once; call it again", failed=True)
        configured = get_config()["configurable"]
        thread = ThreadKey(configured.get("tenant", ""), configured.get("thread_id", ""))
        context = ToolContext(
            principal=turn.principal,
            engine=self.engine,
            idempotency_key=call_key(thread, message, n),
            collection=turn.collection,
            filters=turn.filters,
            top_k=turn.top_k,
            use_cache=turn.use_cache,
            sources=found.sources,
        )
        return await self.tools.run(
            call["name"],
            call["args"].get(UNREADABLE, call["args"]),
            context=context,
            ledger=self.ledger,
            thread=thread,
            limit_s=turn.budget.seconds_left,
        )

    async def _answer(self, state: ReactState, runtime: Runtime[Turn]) -> ReactState:
        runtime.stream_writer({"status": "answering"})
        known, stopped = self._known(state), state["stopped"]
        if state["draft"]:
            answered = known.checked(state["draft"])
        else:
            answered = await known.told_by(
                self.unpaid if stopped else self.llm,
                history=this_turn(state["messages"])[0],
                max_tokens=runtime.context.max_tokens,
            )
        if stopped:
            answered = replace(answered, notes=(*answered.notes, stopped), passing=True)
        return {"messages": [AIMessage(answered.answer or "")], "response": stored(answered), "draft": ""}

    def _known(self, state: ReactState) -> Known:
        results = [
            result
            for result in results_of(this_turn(state["messages"])[1])
            if self.tools.grounds(result.name or "", failed=result.status == "error")
        ]
        return Known(found_in(state), results, self.engine.config.min_confidence)

    def _steps_left(self, state: ReactState) -> int:
        """LangGraph counts anew when a turn goes on after a crash; the calls on the thread are counted over it."""
        rounds = sum(bool(calls_of(message)) for message in this_turn(state["messages"])[1])
        return min(state["remaining_steps"], self.config.max_steps - 2 * rounds - 1)


def _after_reasoning(state: ReactState) -> Literal["tools", "answer"]:
    return "tools" if calls_of(state["messages"][-1]) else "answer"
