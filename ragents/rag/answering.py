"""From sources to a cited answer: the confidence gate, the model, and the check of every citation."""

import re
import time
from collections.abc import Sequence
from dataclasses import replace

from langchain_core.messages import BaseMessage

from ragents.llm.client import LLMClient
from ragents.llm.endings import CUT_SHORT
from ragents.llm.passages import MARKER
from ragents.llm.sentences import split_sentences
from ragents.llm.types import Ending
from ragents.rag.prompt import DECLINED, build_prompt, within_window
from ragents.rag.types import Citation, RAGResponse, Source

TOUCHED = "\0"
"""Where a marker stands or stood, until the blanks around it are seen to."""
LOOSE = re.compile(rf"[ \t{TOUCHED}]+(?=[.,;!?])")
WORD = re.compile(r"\w{3,}")
UNCITED = "the answer cites no passage: what it rests on is not shown"


async def answer_from_sources(
    found: RAGResponse,
    *,
    llm: LLMClient,
    min_confidence: float,
    history: Sequence[BaseMessage] = (),
    max_tokens: int | None = None,
) -> RAGResponse:
    """`found` with answer, citations, model, generate_ms, and what the answer took added to its usage.

    Below the gate no model is asked. The sources are those that the model was given: what its window does not hold is
    left out and noted, and markers of passages that were not given are taken out of the answer. See `rested` and `cut`.
    """
    if not found.sources or found.confidence < min_confidence:
        return replace(found, answer=DECLINED, model=llm.name)
    started = time.perf_counter()
    found = within_window(found, llm=llm, history=history, max_tokens=max_tokens)
    prompt = build_prompt(found, history, room=llm.prompt_tokens(max_tokens))
    said = await llm.generate(prompt, max_tokens=max_tokens)
    answer, citations = check_citations(said.message.text.strip(), found.sources)
    answered = replace(
        found,
        answer=answer or DECLINED,
        citations=citations,
        model=said.model,
        usage=found.usage + said.usage,
        timings={**found.timings, "generate_ms": (time.perf_counter() - started) * 1000},
    )
    return rested(cut(answered, said.ending))


def cut(response: RAGResponse, ending: Ending) -> RAGResponse:
    """`response` with the model's ending, and a note where it had more to say."""
    if ending == "stop":
        return response
    return replace(response, ending=ending, notes=(*response.notes, CUT_SHORT[ending]))


def rested(response: RAGResponse) -> RAGResponse:
    """`response`, without confidence and with a note when its answer cites nothing, however near the passages are.

    Idempotent. An answer that declines has nothing to cite.
    """
    if response.citations or response.answer in (None, DECLINED) or UNCITED in response.notes:
        return response
    return replace(response, confidence=0.0, notes=(*response.notes, UNCITED))


def check_citations(answer: str, sources: Sequence[Source]) -> tuple[str, tuple[Citation, ...]]:
    """The answer without markers of unknown passages, and one citation per known marker, in order of appearance."""
    citations: dict[int, Citation] = {}
    start = 0

    def known(match: re.Match[str]) -> str:
        nonlocal start
        numbers = [int(n) for n in match[1].split(",") if 1 <= int(n) <= len(sources)]
        claim, start = answer[start : match.start()], match.end()
        for n in numbers:
            source = sources[n - 1]
            citations.setdefault(n, Citation(n, source.id, quote_from(source, claim)))
        return kept_markers(numbers)

    answer = answer.replace(TOUCHED, "")
    return tidied(MARKER.sub(known, answer)).strip(), tuple(citations.values())


def kept_markers(numbers: Sequence[int]) -> str:
    """What stands in an answer for a marker of these passages, before it is `tidied`."""
    return "".join(f"[{n}]" for n in numbers) + TOUCHED


def tidied(text: str) -> str:
    """No blanks between a marker, or what is left of it, and a full stop. Others stay: `pip install .` means them."""
    return LOOSE.sub(lambda blanks: "" if TOUCHED in blanks[0] else blanks[0], text).replace(TOUCHED, "")


def quote_from(source: Source, claim: str) -> str:
    """The source's sentence that shares most words with the claim."""
    sentences = split_sentences(source.text) or [source.text.strip()]
    words = _words(claim)
    return max(sentences, key=lambda sentence: len(words & _words(sentence)) / (len(_words(sentence)) + 5))


def _words(text: str) -> set[str]:
    return {word.lower() for word in WORD.findall(text)}
