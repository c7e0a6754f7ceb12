"""logical: parse (rules, then a model) -> (ask back) -> retrieve per sub-question in parallel -> compute -> answer."""

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, TypedDict, cast

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Send, interrupt

from ragents.agents.langgraph_base import AgentState, Graph, LangGraphAgent, stored
from ragents.agents.logical.answering import answer_of, answer_parts, limited_to, merged
from ragents.agents.logical.computing import work
from ragents.agents.logical.form import Form, Known, Missing, form_of_model
from ragents.agents.logical.replies import completed, question_for
from ragents.agents.logical.rules import form_of_rules
from ragents.agents.steps import step
from ragents.agents.threads import RESPONSE
from ragents.agents.types import Turn
from ragents.rag.answering import answer_from_sources
from ragents.rag.prompt import within_window
from ragents.rag.types import RAGResponse

MAX_QUESTIONS = 2
"""Asked back per turn; then the answer is given with what is known."""
ALL_OF_A_DOCUMENT = 50
"""Sources per search when a document is named: the most that the engine gives."""


EMPTIED = cast(list[dict[str, Any]], None)
"""What `_gathered` begins anew with."""


class Search(TypedDict):
    """One branch of the fan-out."""

    query: str
    top_k: int | None


class Ask(TypedDict, total=False):
    question: str
    missing: list[Missing]
    options: list[str]


def _gathered(old: list[dict[str, Any]], new: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Parallel searches add up; None begins anew, since a thread's state outlives its turn."""
    return [] if new is None else [*(old or []), *new]


class LogicalState(AgentState, total=False):
    """Plain JSON values: a Form, what is to be asked, and the response of each search."""

    question: str
    history: int
    """messages before this turn's question"""
    form: dict[str, Any]
    ask: Ask
    asked: int
    found: Annotated[list[dict[str, Any]], _gathered]


class LogicalAgent(LangGraphAgent):
    name: ClassVar[str] = "logical"
    description: ClassVar[str] = (
        "Takes a question apart, asks back what is missing, and computes dates, amounts and comparisons from sources."
    )

    @property
    def last_node(self) -> str:
        return "answer"

    def build_graph(self) -> Graph:
        graph = StateGraph(LogicalState, context_schema=Turn)
        graph.add_node("parse", step("parse", self._parse))
        graph.add_node("refine", step("refine", self._refine))
        graph.add_node("ask", step("ask", self._ask))
        graph.add_node("complete", step("complete", self._complete))
        graph.add_node("retrieve", step("retrieve", self._retrieve), input_schema=Search)
        graph.add_node("compute", step("compute", self._compute))
        graph.add_node("answer", step("answer", self._answer))
        graph.add_edge(START, "parse")
        graph.add_conditional_edges("parse", self._after_rules, ["refine", "ask", "retrieve", "compute"])
        graph.add_conditional_edges("refine", _after_parsing, ["ask", "retrieve", "compute"])
        graph.add_edge("ask", "complete")
        graph.add_conditional_edges("complete", _after_parsing, ["ask", "retrieve", "compute"])
        graph.add_edge("retrieve", "compute")
        graph.add_conditional_edges("compute", _after_computing, ["ask", "answer"])
        graph.add_edge("answer", END)
        return cast(Graph, graph)  # a state of its own, with the keys of AgentState

    async def _parse(self, state: LogicalState, runtime: Runtime[Turn]) -> LogicalState:
        """By rules, and what the last turn left goes. It costs nothing, so that a budget cannot end it halfway."""
        runtime.stream_writer({"status": "reading the question"})
        messages = state["messages"]
        question = str(messages[-1].content)
        form = await asyncio.to_thread(form_of_rules, question, _known(state))  # loads units when it is the first
        return {
            "question": question,
            "history": len(messages) - 1,
            "form": form.model_dump(mode="json"),
            "ask": _asking(form),
            "asked": 0,
            "found": EMPTIED,
            "response": stored(RAGResponse(question)),  # the last turn's would pass for this one's if it ends early
        }

    async def _refine(self, state: LogicalState, runtime: Runtime[Turn]) -> LogicalState:
        """By a generative model, where there is one and the question is more than a calculation."""
        before = state["messages"][: state["history"]]
        budget = runtime.context.budget
        form = await form_of_model(state["question"], llm=self.llm, history=before, budget=budget)
        return {"form": form.model_dump(mode="json"), "ask": _asking(form)} if form else {}

    async def _ask(self, state: LogicalState) -> LogicalState:
        """Runs again from its start when the reply comes: nothing with a cost belongs here."""
        ask = state["ask"]
        reply = interrupt({"question": ask["question"], "missing": list(ask["missing"])})
        said = [AIMessage(ask["question"]), HumanMessage(str(reply))]
        return {"messages": said, "asked": state.get("asked", 0) + 1}

    async def _complete(self, state: LogicalState, runtime: Runtime[Turn]) -> LogicalState:
        runtime.stream_writer({"status": "reading the reply"})
        form, ask = Form.model_validate(state["form"]), state["ask"]
        reply = str(state["messages"][-1].content)
        for missing in ask["missing"]:
            form = completed(form, reply=reply, missing=missing, options=ask.get("options", []))
        return {"form": form.model_dump(mode="json"), "ask": _asking(form), "found": EMPTIED}

    def _after_rules(self, state: LogicalState) -> Hashable | Sequence[Hashable]:
        if self.llm.extractive or Form.model_validate(state["form"]).expression:
            return _after_parsing(state)
        return "refine"

    async def _retrieve(self, state: Search, runtime: Runtime[Turn]) -> LogicalState:
        turn = runtime.context
        turn.budget.check()
        runtime.stream_writer({"status": f"searching: {state['query']}"})
        found = await self.engine.retrieve(
            state["query"],
            principal=turn.principal,
            collection=turn.collection,
            top_k=state["top_k"] or turn.top_k,
            filters=turn.filters,
            use_cache=turn.use_cache,
        )
        turn.budget.charge(found.usage)
        return {"found": [stored(found)]}

    async def _compute(self, state: LogicalState, runtime: Runtime[Turn]) -> LogicalState:
        """Merges what was found, keeps to the named document, and computes what the form asks for."""
        form = Form.model_validate(state["form"])
        turn, may_ask = runtime.context, state["asked"] < MAX_QUESTIONS
        parts = [RESPONSE.validate_python(each) for each in state["found"]]
        gate = self.engine.config.min_confidence
        asked = [part for part in parts if part.query != (form.named_document or "").strip()]
        found = merged(asked, query=state["question"], min_confidence=gate)
        trusted = found.confidence >= gate
        if form.named_document and not form.expression:
            limited = await limited_to(form, parts, found, store=self.engine.store, principal=turn.principal)
            if limited.rivals and may_ask:
                listed = ", ".join(limited.rivals)
                question = f"More than one document is called {form.named_document!r}: {listed}. Which one do you mean?"
                return {"ask": Ask(question=question, missing=["document"], options=list(limited.rivals))}
            found, trusted = limited.response, limited.named or trusted
        if form.operation is None and form.expression is None:
            return {"response": stored(self._fitting(found, state, turn)), "ask": {}}
        runtime.stream_writer({"status": "computing"})
        worked = await work(form, found.sources if trusted else (), may_ask=may_ask)
        if worked.missing:
            ask = Ask(question=worked.ask, missing=[worked.missing], options=list(worked.options))
            return {"ask": ask}
        top_k = turn.top_k or self.engine.config.top_k
        answered = answer_of(form, worked, found, model=self.llm.name, top_k=top_k)
        if answered.answer is None:
            answered = self._fitting(answered, state, turn)
        return {"response": stored(answered), "ask": {}}

    async def _answer(self, state: LogicalState, runtime: Runtime[Turn]) -> LogicalState:
        """What was computed stands; everything else is answered from the sources."""
        response = RESPONSE.validate_python(state["response"])
        turn = runtime.context
        if response.answer is None:
            turn.budget.check()
            runtime.stream_writer({"status": "answering"})
            response = await self._from_sources(response, state, turn)
            turn.budget.charge(response.usage)
        response = replace(response, usage=turn.budget.spent)
        return {"response": stored(response), "messages": [AIMessage(response.answer or "")], "found": EMPTIED}

    async def _from_sources(self, found: RAGResponse, state: LogicalState, turn: Turn) -> RAGResponse:
        gate = self.engine.config.min_confidence
        questions = Form.model_validate(state["form"]).sub_questions
        if self.llm.extractive and len(questions) > 1:
            of = {each["query"]: float(each["confidence"]) for each in state["found"]}
            confidences = [min(of.get(question.strip(), 0.0), found.confidence) for question in questions]
            return await answer_parts(found, questions, llm=self.llm, min_confidence=gate, confidences=confidences)
        return await answer_from_sources(
            found,
            llm=self.llm,
            min_confidence=gate,
            history=_history(state),
            max_tokens=turn.max_tokens,
        )

    def _fitting(self, found: RAGResponse, state: LogicalState, turn: Turn) -> RAGResponse:
        return within_window(found, llm=self.llm, history=_history(state), max_tokens=turn.max_tokens)


def _history(state: LogicalState) -> list[BaseMessage]:
    """All that was said but the turn's question, which the prompt has anyway."""
    return [*state["messages"][: state["history"]], *state["messages"][state["history"] + 1 :]]


def _after_parsing(state: LogicalState) -> Hashable | Sequence[Hashable]:
    form = Form.model_validate(state["form"])
    if form.missing and state["asked"] < MAX_QUESTIONS:
        return "ask"
    if form.expression:
        return "compute"
    queries = form.sub_questions or form.entities or (state["question"],)
    if not form.named_document:
        return [Send("retrieve", Search(query=query, top_k=None)) for query in queries]
    queries = (form.named_document, *queries)
    return [Send("retrieve", Search(query=query, top_k=ALL_OF_A_DOCUMENT)) for query in dict.fromkeys(queries)]


def _after_computing(state: LogicalState) -> Literal["ask", "answer"]:
    return "ask" if state.get("ask") else "answer"


def _asking(form: Form) -> Ask:
    return Ask(question=question_for(form.missing), missing=list(form.missing)) if form.missing else {}


def _known(state: LogicalState) -> Known:
    """Of the turn before: its answer, and the document it cited, when that is one."""
    if not state.get("response"):
        return Known()
    last: RAGResponse = RESPONSE.validate_python(state["response"])
    cited = {citation.source_id for citation in last.citations}
    uris = {source.uri for source in last.sources if source.id in cited}
    return Known(last.answer or "", uris.pop() if len(uris) == 1 else None)
