"""The sources of a turn, and the answer that was computed from them: one step a line, each with its source."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ragents.agents.logical.computing import Worked, conclusion
from ragents.agents.logical.documents import matching
from ragents.agents.logical.form import Form
from ragents.agents.logical.operands import Operand, shown
from ragents.errors import NotFound
from ragents.llm.client import LLMClient
from ragents.principal import Principal
from ragents.rag.answering import answer_from_sources, check_citations
from ragents.rag.confidence import confidence_of
from ragents.rag.prompt import DECLINED
from ragents.rag.store.types import VectorStore
from ragents.rag.types import RAGResponse, Source

SOFT = ("difference", "comparison", "ratio", "sum")
"""Operations whose question may also be meant in words: without values it is answered from the sources."""


@dataclass(frozen=True, slots=True)
class Limited:
    """`response` keeps to the named document; `rivals` are the uris when the name fits several."""

    response: RAGResponse
    rivals: tuple[str, ...] = ()
    named: bool = False
    """the sources are those of one document that the user named"""


def merged(parts: Sequence[RAGResponse], *, query: str, min_confidence: float) -> RAGResponse:
    """One response of all searches: each source once, best first. Searches below the gate give no sources."""
    trusted = [part for part in parts if part.confidence >= min_confidence]
    notes = [note for part in parts for note in part.notes]
    if trusted:
        notes += [f"nothing found on: {part.query}" for part in parts if part not in trusted]
    return RAGResponse(
        query=query,
        sources=_distinct(trusted or parts),
        confidence=max((part.confidence for part in parts), default=0.0),
        timings=_slowest(parts),
        notes=tuple(dict.fromkeys(notes)),
        passing=any(part.passing for part in parts),
    )


async def limited_to(
    form: Form, parts: Sequence[RAGResponse], found: RAGResponse, *, store: VectorStore, principal: Principal
) -> Limited:
    """The sources of the named document alone, those below the gate too, since it was named."""
    everything = _distinct(parts)
    name = form.named_document or ""
    documents = matching(name, everything)
    if not documents:
        if form.document is None:
            return Limited(found)
        note = f"no document named {name!r} is among those found; name it by its file name or title"
        return Limited(replace(found, sources=(), notes=(*found.notes, note)))
    if len(documents) > 1:
        uris = tuple(sorted(uri for uri, _ in documents.values()))
        return Limited(found, uris if form.document else ())
    document_id, (uri, _) = next(iter(documents.items()))
    sources = tuple(source for source in everything if source.document_id == document_id)
    confidence = max((_confidence(part, document_id) for part in parts if part.query != name.strip()), default=0.0)
    notes = found.notes
    try:
        chunks = (await store.document(document_id, principal=principal)).chunks
    except NotFound:  # deleted since the search
        chunks = len(sources)
    if chunks > len(sources):
        notes = (*notes, f"{len(sources)} of {chunks} passages of {uri} were considered")
    return Limited(replace(found, sources=sources, confidence=confidence, notes=notes), named=True)


async def answer_parts(
    found: RAGResponse, questions: Sequence[str], *, llm: LLMClient, min_confidence: float, confidences: Sequence[float]
) -> RAGResponse:
    """For the extractive model, whose sentences are those nearest to one question: each part on its own."""
    answers: list[str] = []
    for question, confidence in zip(questions, confidences, strict=True):
        part = replace(found, query=question, confidence=confidence)
        answered = await answer_from_sources(part, llm=llm, min_confidence=min_confidence)
        said = answered.answer or DECLINED
        answers.append(f"{question} {said}" if said == DECLINED else said)
    if all(answer.endswith(DECLINED) for answer in answers):
        return replace(found, answer=DECLINED, model=llm.name)
    between = "\n\n" if any("\n" in answer for answer in answers) else " "  # a table needs a paragraph of its own
    answer, citations = check_citations(between.join(dict.fromkeys(answers)), found.sources, question=found.query)
    return replace(found, answer=answer, citations=citations, model=llm.name)


def answer_of(form: Form, worked: Worked, found: RAGResponse, *, model: str, top_k: int) -> RAGResponse:
    """`found` with the computed answer. Without one, where words may be meant, `answer` stays None."""
    cited = [each.source for each in worked.operands if each.source]
    sources = _with_cited(found.sources, cited, top_k)
    of_today = worked.computed is not None and worked.computed.of_today
    response = replace(
        found,
        sources=sources,
        notes=(*found.notes, *worked.notes),
        model=model,
        passing=found.passing or of_today,
    )
    if worked.computed is None and not worked.operands and not worked.problem:
        notes = (*response.notes, *(f"not found: {name}" for name in worked.absent))
        answer = None if form.operation in SOFT and found.sources else DECLINED
        return replace(response, answer=answer, notes=notes)
    if worked.problem and not worked.operands:
        return replace(response, answer=f"This does not compute: {worked.problem}")
    lines = [_line(operand, sources) for operand in worked.operands if operand.source]
    lines += [f"The documents do not tell {name}." for name in worked.absent]
    if worked.problem:
        lines.append(f"These values do not compute: {worked.problem}")
    if worked.computed:
        assumed = "".join(f" Note: {note}." for note in worked.notes)
        lines.append(conclusion(form, worked.computed) + assumed)
    text = "\n".join(f"{n}. {line}" for n, line in enumerate(lines, start=1)) if len(lines) > 1 else lines[0]
    answer, citations = check_citations(text, sources)
    steps = tuple(f"computed: {step}" for step in worked.computed.steps) if worked.computed else ()
    exact = worked.computed is not None and not cited  # every value was in the question
    return replace(
        response,
        answer=answer,
        citations=citations,
        confidence=1.0 if exact else response.confidence,
        notes=(*response.notes, *steps),
    )


def _line(operand: Operand, sources: Sequence[Source]) -> str:
    marker = next(n for n, source in enumerate(sources, start=1) if operand.source and source.id == operand.source.id)
    return f"{shown(operand.sentence, operand.expression)} [{marker}]."


def _with_cited(sources: Sequence[Source], cited: Sequence[Source], top_k: int) -> tuple[Source, ...]:
    """The best `top_k` and those that the answer rests on, best first."""
    needed = {source.id for source in cited}
    return tuple(source for n, source in enumerate(sources) if n < top_k or source.id in needed)


def _confidence(part: RAGResponse, document_id: str) -> float:
    return confidence_of(part.query, [source for source in part.sources if source.document_id == document_id])


def _distinct(parts: Sequence[RAGResponse]) -> tuple[Source, ...]:
    best: dict[str, Source] = {}
    for part in parts:
        for source in part.sources:
            if source.id not in best or source.score > best[source.id].score:
                best[source.id] = source
    return tuple(sorted(best.values(), key=lambda source: -source.score))


def _slowest(parts: Sequence[RAGResponse]) -> dict[str, float]:
    """The searches ran side by side: the slowest of each stage counts."""
    timings: dict[str, float] = {}
    for part in parts:
        for stage, milliseconds in part.timings.items():
            timings[stage] = max(milliseconds, timings.get(stage, 0.0))
    return timings
