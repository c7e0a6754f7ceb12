"""Reranking: the Reranker port, one file per backend, and the bound that keeps a slow one from holding an answer up."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from ragents.errors import RerankerUnavailable
from ragents.rag.rerank.types import RerankConfig, Reranker
from ragents.rag.types import Source

__all__ = ["RerankConfig", "Reranker", "Reranking", "open_reranking"]

log = logging.getLogger(__name__)


class Reranking:
    """A reranker with its bounds."""

    def __init__(self, reranker: Reranker, config: RerankConfig) -> None:
        self.candidates = config.candidates
        self._reranker = reranker
        self._timeout_s = config.timeout_s

    @property
    def model(self) -> str:
        return self._reranker.model

    async def best(self, query: str, sources: Sequence[Source], top_k: int) -> tuple[tuple[Source, ...], str | None]:
        """The best `top_k` with the reranker's scores; with a note, where it was left out, as the search had them."""
        if not sources:
            return (), None
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                scores = await self._reranker.rerank(query, [source.text for source in sources])
        except TimeoutError:
            return tuple(sources[:top_k]), self._left_out(f"it took longer than {self._timeout_s:g} s", started)
        except RerankerUnavailable as error:
            return tuple(sources[:top_k]), self._left_out(error.detail, started)
        # Stable: of equal scores the search's order stays.
        order = sorted(range(len(sources)), key=lambda n: -scores[n])[:top_k]
        return tuple(replace(sources[n], score=scores[n]) for n in order), None

    def _left_out(self, reason: str, started: float) -> str:
        log.warning("reranker %s left out after %.2f s: %s", self.model, time.perf_counter() - started, reason)
        return f"not reranked: {reason}"


@asynccontextmanager
async def open_reranking(config: RerankConfig) -> AsyncIterator[Reranking | None]:
    """None for the provider "none". ConfigError or MissingExtra for a model that cannot be loaded."""
    # Imported here: a process loads the libraries of the backend it uses, and no other's.
    match config.provider:
        case "none":
            yield None
            return
        case "cross_encoder":
            from ragents.rag.rerank.cross_encoder import CrossEncoderReranker  # noqa: PLC0415

            reranker: Reranker = await asyncio.to_thread(CrossEncoderReranker.load, config)
        case _:
            from ragents.rag.rerank.http import HttpReranker  # noqa: PLC0415

            reranker = HttpReranker(config)
    try:
        yield Reranking(reranker, config)
    finally:
        await reranker.close()
