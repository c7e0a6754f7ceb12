"""The embedded model: answers with sentences of the passages, so that a first run needs no server and no key.

It generates nothing: it picks what bears on the question (ragents.llm.excerpts) and cites it. Of answers to questions
about documentation, one of six missed the fact (docs/quality.md), so answers carry the model's name "extractive".
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import ConfigDict

from ragents.errors import TextTooLong
from ragents.llm.client import LLMClient
from ragents.llm.excerpts import Candidates, joined
from ragents.llm.passages import Passage, passages_of, question_of
from ragents.llm.types import EmbedTexts, Vectors

MARGIN = 0.9
"""Of the characters that would fit on average: one cut is enough for most texts, and every one makes it shorter."""


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
        candidates = Candidates(question, passages)
        sentences = candidates.to_embed()
        if not sentences:
            return f"{passages[0].text.strip()} [{passages[0].marker}]" if passages else ""
        vectors = at_half_precision(await self._embed_beginnings([question, *sentences]))
        return joined(candidates.best(dict(zip(sentences, (vectors[1:] @ vectors[0]).tolist(), strict=True))))

    async def _embed_beginnings(self, texts: list[str]) -> Vectors:
        """A question, or code that runs over several chunks, may be longer than the encoder takes."""
        while True:
            try:
                return await self.embed(texts)
            except TextTooLong as error:
                text = texts[error.index]
                texts[error.index] = text[: int(MARGIN * len(text) * error.max_tokens / error.tokens)]


def at_half_precision(vectors: Vectors) -> Vectors:
    """As stored ones are: an answer must not depend on whether its sentences were embedded before."""
    return vectors.astype(np.float16).astype(np.float32)


def extractive_client(embed: EmbedTexts) -> LLMClient:
    """For the answers that may cost nothing."""
    return LLMClient.of(ExtractiveChatModel(embed=embed), name="extractive")
