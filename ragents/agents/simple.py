"""simple: retrieve, answer, cite."""

from typing import ClassVar

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from ragents.agents.langgraph_base import AgentState, Graph, LangGraphAgent, stored
from ragents.agents.steps import step
from ragents.agents.threads import RESPONSE
from ragents.agents.types import Turn
from ragents.rag.answering import answer_from_sources
from ragents.rag.prompt import within_window


class SimpleAgent(LangGraphAgent):
    name: ClassVar[str] = "simple"
    description: ClassVar[str] = "Retrieves passages, answers from them and cites each one it used."

    @property
    def last_node(self) -> str:
        return "answer"

    def build_graph(self) -> Graph:
        graph: Graph = StateGraph(AgentState, context_schema=Turn)
        graph.add_node("retrieve", step("retrieve", self._retrieve))
        graph.add_node("answer", step("answer", self._answer))
        graph.add_edge(START, "retrieve")
        graph.add_edge("retrieve", "answer")
        graph.add_edge("answer", END)
        return graph

    async def _retrieve(self, state: AgentState, runtime: Runtime[Turn]) -> AgentState:
        runtime.stream_writer({"status": "searching"})
        turn = runtime.context
        found = await self.engine.retrieve(
            str(state["messages"][-1].content),
            principal=turn.principal,
            collection=turn.collection,
            top_k=turn.top_k,
            filters=turn.filters,
            use_cache=turn.use_cache,
        )
        fits = within_window(found, llm=self.llm, history=state["messages"][:-1], max_tokens=turn.max_tokens)
        return {"response": stored(fits)}

    async def _answer(self, state: AgentState, runtime: Runtime[Turn]) -> AgentState:
        runtime.stream_writer({"status": "answering"})
        answered = await answer_from_sources(
            RESPONSE.validate_python(state["response"]),
            llm=self.llm,
            min_confidence=self.engine.config.min_confidence,
            history=state["messages"][:-1],
            max_tokens=runtime.context.max_tokens,
        )
        return {"response": stored(answered), "messages": [AIMessage(answered.answer or "")]}
