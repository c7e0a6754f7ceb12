"""What a turn knows, from sources and from the results of tools, and the answers that can be given from it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from langchain_core.messages import BaseMessage, ToolMessage

from ragents.agents.rewriting import standalone
from ragents.llm.client import LLMClient
from ragents.rag.answering import answer_from_sources, check_citations, quote_from, rested
from ragents.rag.prompt import DECLINED
from ragents.rag.types import RAGResponse

MAX_SHOWN_RESULT = 1_000
GROUNDLESS = "the model's answer is not given: nothing that was found or computed bears it out"


@dataclass(frozen=True, slots=True)
class Known:
    """`results`: of the tools that an answer may rest on alone."""

    found: RAGResponse
    results: Sequence[ToolMessage]
    min_confidence: float

    @property
    def sources_tell(self) -> bool:
        return bool(self.found.sources) and self.found.confidence >= self.min_confidence

    @property
    def results_text(self) -> str:
        """For a reader: a calculation speaks for itself, another tool is named."""
        lines = (
            ("" if result.name == "calculate" else f"{result.name}: ") + result.text[:MAX_SHOWN_RESULT]
            for result in self.results
        )
        return "\n".join(dict.fromkeys(lines))

    def checked(self, draft: str) -> RAGResponse:
        """A model's draft, its citations checked; DECLINED, with a note, when there is nothing it could rest on."""
        if not self.results and not self.sources_tell:
            notes = (*self.found.notes, *([] if draft == DECLINED else [GROUNDLESS]))
            return replace(self.found, answer=DECLINED, notes=notes)
        answer, citations = check_citations(draft, self.found.sources, question=self.found.query)
        return rested(replace(self.found, answer=answer or DECLINED, citations=citations))

    async def told_by(self, llm: LLMClient, *, history: Sequence[BaseMessage], max_tokens: int | None) -> RAGResponse:
        """The answer of `llm` from the sources, and below it what the tools gave."""
        if self.results and not self.sources_tell:
            return self._told_by_results(model=self.found.model or llm.name)
        asked = replace(self.found, query=standalone(self.found.query, history))
        answered = await answer_from_sources(
            asked, llm=llm, min_confidence=self.min_confidence, history=history, max_tokens=max_tokens
        )
        answer = "\n\n".join(part for part in (answered.answer, self.results_text) if part)
        return replace(answered, query=self.found.query, answer=answer)

    def in_short(self) -> RAGResponse:
        """At once and without a model: the sentence nearest to the question, or the results of tools."""
        if not self.sources_tell:
            return self._told_by_results(model=self.found.model)
        best = self.found.sources[0]
        answer, citations = check_citations(f"{quote_from(best, self.found.query)} [1]", self.found.sources)
        return replace(self.found, answer=answer, citations=citations)

    def _told_by_results(self, *, model: str) -> RAGResponse:
        """A calculation told as it is is exact; how far another tool is to be believed, nobody has said."""
        if not self.results:
            return replace(self.found, answer=DECLINED, model=model)
        confidence = 1.0 if {result.name for result in self.results} == {"calculate"} else 0.0
        return replace(self.found, answer=self.results_text, model=model, confidence=confidence)
