"""langgraph: rewrite -> retrieve -> grade -> (retrieve once more) -> reason -> answer -> check each claim."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar, Literal, cast

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from pydantic import BaseModel, Field

from ragents.agents.asking import ask_json, seconds_to_ask
from ragents.agents.claims import Support, notes_on, says_so, statements_of, support_prompt
from ragents.agents.grading import Grade, grade_by_rules, grading_prompt, queries_instead
from ragents.agents.langgraph_base import AgentState, Graph, LangGraphAgent, stored
from ragents.agents.rewriting import standalone
from ragents.agents.steps import step
from ragents.agents.threads import history_digest
from ragents.agents.turns import TurnState, found_in, question_of, this_turn, with_ms
from ragents.agents.types import Turn
from ragents.errors import BudgetExceeded
from ragents.llm.extractive import extractive_client
from ragents.llm.types import Usage
from ragents.rag.answering import answer_from_sources, check_citations, rested
from ragents.rag.cache import rewrite_scope
from ragents.rag.confidence import confidence_of
from ragents.rag.prompt import DECLINED, recent, within_window
from ragents.rag.types import RAGResponse, Source

REWRITE_PROMPT = """\
Rewrite the last question so that it can be understood without the conversation: name what it points to. Change \
nothing else, and do not answer it. Answer with JSON only: {"question": "..."}"""


class Rewritten(BaseModel):
    question: str = Field(min_length=1, max_length=2_000)


class CorrectiveState(TurnState, total=False):
    """`question` stands alone; `queries` are to be searched next, `tried` were; `relevant` are ids of sources."""

    question: str
    queries: list[str]
    tried: list[str]
    relevant: list[str]


class LangGraphRAGAgent(LangGraphAgent):
    """What a generative model cannot be asked (none there, garbage, no budget) is decided by rules."""

    name: ClassVar[str] = "langgraph"
    description: ClassVar[str] = (
        "Rewrites the question with the conversation, grades what it finds, searches again when that is too little, "
        "and checks each claim against its source."
    )

    @property
    def last_node(self) -> str:
        return "check"

    @property
    def speaking(self) -> frozenset[str]:
        return frozenset({"answer"})

    def build_graph(self) -> Graph:
        graph = StateGraph(CorrectiveState, context_schema=Turn)
        graph.add_node("rewrite", step("rewrite", self._rewrite))
        graph.add_node("retrieve", step("retrieve", self._retrieve))
        graph.add_node("grade", step("grade", self._grade))
        graph.add_node("reason", step("reason", self._reason))
        graph.add_node("answer", step("answer", self._answer))
        graph.add_node("check", step("check", self._check))
        graph.add_edge(START, "rewrite")
        graph.add_edge("rewrite", "retrieve")
        graph.add_edge("retrieve", "grade")
        graph.add_conditional_edges("grade", _after_grading)
        graph.add_edge("reason", "answer")
        graph.add_edge("answer", "check")
        graph.add_edge("check", END)
        return cast("Graph", graph)  # a graph of more state is one of AgentState; the types cannot say so

    def known_so_far(self, state: AgentState) -> RAGResponse:
        return found_in(state)

    async def _rewrite(self, state: CorrectiveState, runtime: Runtime[Turn]) -> CorrectiveState:
        runtime.stream_writer({"status": "reading the question"})
        found = found_in(state)
        earlier = recent(this_turn(state["messages"])[0])
        question, usage = await self._standalone(found.query, earlier, runtime.context)
        found = replace(found, usage=found.usage + usage)
        return {
            "question_id": question_of(state).id,
            "question": question,
            "queries": [question],
            "tried": [],
            "relevant": [],
            "response": stored(found),
        }

    async def _standalone(self, asked: str, earlier: Sequence[BaseMessage], turn: Turn) -> tuple[str, Usage]:
        """`asked` in words that need no conversation, and what they cost; what a model wrote once is kept."""
        question = standalone(asked, earlier)
        if not earlier or self.llm.extractive:
            return question, Usage()
        cache = self.engine.cache if turn.use_cache else None
        scope = rewrite_scope(
            tenant=turn.principal.tenant,
            models=self.llm.identity,
            prompt=REWRITE_PROMPT,
            history=history_digest(earlier),
        )
        if cache is not None and (known := await cache.get_rewrite(asked, scope=scope)):
            return known[0], Usage()
        prompt = [SystemMessage(REWRITE_PROMPT), *earlier, HumanMessage(f"The last question: {asked}")]
        rewritten, usage = await ask_json(self.llm, prompt, Rewritten, budget=turn.budget)
        if rewritten is None or not rewritten.question.strip():
            return question, usage
        question = rewritten.question.strip()
        if cache is not None:
            await cache.cache_rewrite(asked, [question], scope=scope)
        return question, usage

    async def _retrieve(self, state: CorrectiveState, runtime: Runtime[Turn]) -> CorrectiveState:
        runtime.stream_writer({"status": "searching again" if state["tried"] else "searching"})
        turn, found = runtime.context, found_in(state)
        searches = await asyncio.gather(
            *(
                self.engine.retrieve(
                    query,
                    principal=turn.principal,
                    collection=turn.collection,
                    top_k=turn.top_k,
                    filters=turn.filters,
                    use_cache=turn.use_cache,
                )
                for query in state["queries"]
            )
        )
        timings = dict(found.timings)
        for each in searches:
            timings |= {stage: timings.get(stage, 0.0) + ms for stage, ms in each.timings.items()}
        again = tuple(f"searched again for: {query}" for query in state["queries"] if state["tried"])
        sources = _best((found.sources, *(each.sources for each in searches)), turn.top_k or self.engine.config.top_k)
        found = replace(
            found,
            sources=sources,
            confidence=confidence_of(state["question"], sources),
            usage=sum((each.usage for each in searches), found.usage),
            timings=timings,
            notes=tuple(dict.fromkeys((*found.notes, *again, *(note for each in searches for note in each.notes)))),
            passing=found.passing or any(each.passing for each in searches),
        )
        with suppress(BudgetExceeded):  # told to the next step that costs
            for each in searches:
                turn.budget.charge(each.usage)
        found = within_window(found, llm=self.llm, history=this_turn(state["messages"])[0], max_tokens=turn.max_tokens)
        return {"response": stored(found), "tried": [*state["tried"], *state["queries"]], "queries": []}

    async def _grade(self, state: CorrectiveState, runtime: Runtime[Turn]) -> CorrectiveState:
        runtime.stream_writer({"status": "grading what was found"})
        found, question = found_in(state), state["question"]
        grade: Grade | None = None
        if found.sources:
            prompt = grading_prompt(question, found.sources)
            grade, usage = await ask_json(self.llm, prompt, Grade, budget=runtime.context.budget)
            found = replace(found, usage=found.usage + usage)
        grade = grade or grade_by_rules(question, found.sources)
        first = state["tried"] == [question]
        earlier = this_turn(state["messages"])[0]
        return {
            "response": stored(found),
            "relevant": [source.id for n, source in enumerate(found.sources, start=1) if n in grade.relevant],
            "queries": queries_instead(grade, question, earlier, state["tried"]) if first and not grade.enough else [],
        }

    async def _reason(self, state: CorrectiveState, runtime: Runtime[Turn]) -> CorrectiveState:
        """What the answer may rest on: the passages that bear on the question, or all when the grading found none."""
        runtime.stream_writer({"status": "thinking"})
        found, relevant = found_in(state), set(state["relevant"])
        kept = tuple(source for source in found.sources if source.id in relevant) or found.sources
        return {"response": stored(replace(found, sources=kept))}

    async def _answer(self, state: CorrectiveState, runtime: Runtime[Turn]) -> CorrectiveState:
        runtime.stream_writer({"status": "answering"})
        found, turn, started = found_in(state), runtime.context, time.perf_counter()
        asked = replace(found, query=state["question"], usage=Usage())
        try:
            turn.budget.check()
            async with asyncio.timeout(seconds_to_ask(turn.budget)):
                answered = await answer_from_sources(
                    asked,
                    llm=self.llm,
                    min_confidence=self.engine.config.min_confidence,
                    history=this_turn(state["messages"])[0],
                    max_tokens=turn.max_tokens,
                )
        except (BudgetExceeded, TimeoutError) as error:
            answered = await answer_from_sources(
                asked,
                llm=extractive_client(self.engine.embedder.embed_documents),
                min_confidence=self.engine.config.min_confidence,
            )
            reason = str(error) or f"the turn has taken its {turn.budget.seconds:g} s"
            notes = (*answered.notes, f"{reason}; this is what is known so far")
            answered = replace(answered, notes=notes, passing=True)
        with suppress(BudgetExceeded):  # an answer that is paid for is given
            turn.budget.charge(answered.usage)
        answered = replace(
            answered,
            query=found.query,
            usage=found.usage + answered.usage,
            timings=with_ms(found.timings, "generate_ms", time.perf_counter() - started),
        )
        return {"response": stored(answered)}

    async def _check(self, state: CorrectiveState, runtime: Runtime[Turn]) -> CorrectiveState:
        runtime.stream_writer({"status": "checking each claim"})
        checked = await self._check_claims(found_in(state), state["question"], runtime.context)
        return {"response": stored(checked), "messages": [AIMessage(checked.answer or "")]}

    async def _check_claims(self, answered: RAGResponse, question: str, turn: Turn) -> RAGResponse:
        """`answered` without the claims that their passages do not say, and with notes of those and of doubtful."""
        statements = statements_of(answered.answer or "")
        doubtful = [
            each
            for each in statements
            if each.is_claim and not says_so(each, answered.sources, question=f"{answered.query} {question}")
        ]
        if not doubtful or not answered.sources or answered.answer == DECLINED:
            return answered
        support, usage = await ask_json(
            self.llm, support_prompt(doubtful, answered.sources), Support, budget=turn.budget
        )
        cited = [each for each in doubtful if each.markers]
        if support and len(support.supported) == len(doubtful):
            doubtful = [each for each, fine in zip(doubtful, support.supported, strict=True) if not fine]
            removed = [each for each in doubtful if each.markers]
        else:
            # An extractive answer quotes; a generated one may be right in words of its own, which rules cannot tell.
            removed = cited if self.llm.extractive else []
        kept = "".join(each.text for each in statements if each not in removed)
        answer, citations = check_citations(kept, answered.sources, question=answered.query)
        checked = replace(
            answered,
            answer=answer or DECLINED,
            citations=citations,
            usage=answered.usage + usage,
            notes=(*answered.notes, *notes_on(removed, [each for each in doubtful if each not in removed])),
        )
        return rested(checked)


def _after_grading(state: CorrectiveState) -> Literal["retrieve", "reason"]:
    return "retrieve" if state["queries"] else "reason"


def _best(lists: Sequence[Sequence[Source]], top_k: int) -> tuple[Source, ...]:
    """Each source once. One list stays as it is ranked; several are merged by similarity, which alone they share."""
    filled = [each for each in lists if each]
    if len(filled) < 2:
        return tuple(filled[0][:top_k]) if filled else ()
    sources = {source.id: source for each in filled for source in each}
    # Of two searches, a source's similarity is to either query; the higher one counts.
    for source in (source for each in filled for source in each):
        if (source.similarity or 0) > (sources[source.id].similarity or 0):
            sources[source.id] = source
    return tuple(sorted(sources.values(), key=lambda s: (s.similarity or 0.0, s.score), reverse=True)[:top_k])
