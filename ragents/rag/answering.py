"""From sources to a cited answer: the confidence gate, the model, and the check of every citation."""

import math
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from langchain_core.messages import BaseMessage

from ragents.llm.client import LLMClient
from ragents.llm.endings import CUT_SHORT
from ragents.llm.parts import parts_of
from ragents.llm.passages import MARKER
from ragents.llm.sentences import split_sentences
from ragents.llm.types import Ending
from ragents.llm.wording import terms
from ragents.rag.prompt import DECLINED, build_prompt, within_window
from ragents.rag.types import Citation, RAGResponse, Source

TOUCHED = "\0"
"""Where a marker stands or stood, until the blanks around it are seen to."""
LOOSE = re.compile(rf"[ \t{TOUCHED}]+(?=[.,;!?])")
ASKED = 1.0
"""What all of the question's words are worth to a quote, beside a long one that stands in the claim whole."""
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
    answer, citations = check_citations(said.message.text.strip(), found.sources, question=found.query)
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


def check_citations(answer: str, sources: Sequence[Source], *, question: str = "") -> tuple[str, tuple[Citation, ...]]:
    """The answer without markers of unknown passages, and one citation per known marker, in order of appearance.

    A passage is quoted for what it is cited for first; of equally told sentences with the one nearest to `question`.
    """
    citations: dict[int, Citation] = {}
    start = 0

    def known(match: re.Match[str]) -> str:
        nonlocal start
        numbers = [int(n) for n in match[1].split(",") if 1 <= int(n) <= len(sources)]
        claim, start = answer[start : match.start()], match.end()
        for n in numbers:
            source = sources[n - 1]
            citations.setdefault(n, Citation(n, source.id, quote_from(source, claim, question)))
        return kept_markers(numbers)

    answer = answer.replace(TOUCHED, "")
    return tidied(MARKER.sub(known, answer)).strip(), tuple(citations.values())


def kept_markers(numbers: Sequence[int]) -> str:
    """What stands in an answer for a marker of these passages, before it is `tidied`."""
    return "".join(f"[{n}]" for n in numbers) + TOUCHED


def tidied(text: str) -> str:
    """No blanks between a marker, or what is left of it, and a full stop. Others stay: `pip install .` means them."""
    return LOOSE.sub(lambda blanks: "" if TOUCHED in blanks[0] else blanks[0], text).replace(TOUCHED, "")


def quote_from(source: Source, claim: str, question: str = "") -> str:
    """What stands in the source, letter by letter: its sentence or row that shares most with the claim and question.

    The line that names a table's columns is not quoted. What stands over a sentence, the question may mean too.
    """
    parts = parts_of(source.text)
    columns = {" ".join(part.columns.partition("\n")[0].split()) for part in parts}
    over = {sentence: part.around for part in parts for sentence in part.sentences}
    sentences = [each for each in split_sentences(source.text) if each not in columns] or [source.text.strip()]
    asked, words = terms(question), terms(claim)
    own = [terms(sentence) for sentence in sentences]
    met = [asked & (said | terms(over.get(each, ""))) for each, said in zip(sentences, own, strict=True)]
    weights = {word: math.log(1 + len(met) / n) for word, n in Counter(word for each in met for word in each).items()}
    whole = sum(weights.values()) or 1.0
    worth = [
        len(words & said) / (len(said) + 5) + ASKED * sum(weights[word] for word in each) / whole
        for said, each in zip(own, met, strict=True)
    ]
    return _as_written(sentences[worth.index(max(worth))], source.text)


def _as_written(sentence: str, text: str) -> str:
    """`sentence` with the blanks and line ends that it has in `text`."""
    if sentence in text:
        return sentence
    inked = [at for at, character in enumerate(text) if not character.isspace()]
    bare = "".join(sentence.split())
    start = "".join(text.split()).find(bare)
    return text[inked[start] : inked[start + len(bare) - 1] + 1] if start >= 0 else sentence
