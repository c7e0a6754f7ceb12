"""The embedded model: answers with sentences of the passages, so that a first run needs no server and no key.

It generates nothing: it picks the sentences nearest to the question and cites them. One of four of such answers misses
the point (measured on real questions), so answers carry the model's name "extractive".
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import ConfigDict

from ragents.llm.client import LLMClient
from ragents.llm.passages import Passage, passages_of, question_of
from ragents.llm.sentences import split_sentences
from ragents.llm.types import EmbedTexts, Vectors

MAX_SENTENCES = 24
"""Sentences embedded per answer: 28 took 215 ms on two cores, so the rest is dropped by word overlap first."""
ANSWER_SENTENCES = 3
NEAR_BEST = 0.85
"""A further sentence is taken when its similarity is at least this share of the best one's."""
WORD = re.compile(r"\w+")


class ExtractiveChatModel(BaseChatModel):
    """Reads question and passages from the last message (see ragents.llm.passages)."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    embed: EmbedTexts

    @property
    def _llm_type(self) -> str:
        return "extractive"

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # LangChain's signature
    ) -> ChatResult:
        question, passages = question_of(messages), passages_of(messages)
        answer = await self._extract(question, passages)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=answer))])

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise RuntimeError("the extractive model embeds sentences and is asynchronous: use ainvoke")

    async def _extract(self, question: str, passages: Sequence[Passage]) -> str:
        candidates = _candidates(question, passages)
        if not candidates:
            return passages[0].text.strip() + f" [{passages[0].marker}]" if passages else ""
        vectors = at_half_precision(await self.embed([question, *(sentence for sentence, _ in candidates)]))
        similarity = vectors[1:] @ vectors[0]
        chosen = _choose(similarity)
        # In the order of the passages, which reads better than the order of the scores.
        return " ".join(f"{candidates[i][0]} [{candidates[i][1]}]" for i in sorted(chosen))


def at_half_precision(vectors: Vectors) -> Vectors:
    """As stored ones are: an answer must not depend on whether its sentences were embedded before."""
    return vectors.astype(np.float16).astype(np.float32)


def extractive_client(embed: EmbedTexts) -> LLMClient:
    """For the answers that may cost nothing."""
    return LLMClient.of(ExtractiveChatModel(embed=embed), name="extractive")


def _candidates(question: str, passages: Sequence[Passage]) -> list[tuple[str, int]]:
    """(sentence, marker), at most MAX_SENTENCES: the ones that share most words with the question, in reading order."""
    words = _words(question)
    seen: set[str] = set()
    found: list[tuple[float, int, str, int]] = []
    for passage in passages:
        for sentence in split_sentences(passage.text):
            if sentence not in seen:
                seen.add(sentence)
                shared = len(words & _words(sentence))
                found.append((-shared + 0.1 * passage.marker, len(found), sentence, passage.marker))
    nearest = sorted(found)[:MAX_SENTENCES]
    return [(sentence, marker) for _, _, sentence, marker in sorted(nearest, key=lambda item: item[1])]


def _choose(similarity: Vectors) -> list[int]:
    order = [int(i) for i in np.argsort(-similarity)[:ANSWER_SENTENCES]]
    return [i for i in order if similarity[i] >= NEAR_BEST * similarity[order[0]]]


def _words(text: str) -> set[str]:
    return {word.lower() for word in WORD.findall(text) if len(word) > 2}
