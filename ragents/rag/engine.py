"""RAGEngine: a question in, ranked sources and a cited answer out."""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import replace

import numpy as np
from semantic_text_splitter import TextSplitter

from ragents.config.rag_config import RAGConfig
from ragents.embeddings.types import Embedder, Vectors, settings_of
from ragents.errors import Conflict, InputError
from ragents.llm.asked import asked_by
from ragents.llm.client import LLMClient
from ragents.llm.types import Usage
from ragents.principal import ANONYMOUS, Principal
from ragents.rag.answering import answer_from_sources
from ragents.rag.cache import CacheScope, RAGCache
from ragents.rag.confidence import confidence_of
from ragents.rag.filters import Filters
from ragents.rag.nearness import LOOKED_AT, by_nearness
from ragents.rag.query import Found, Plan, fuse_lists, plan_queries, search_all
from ragents.rag.rerank import Reranking
from ragents.rag.sentence_vectors import recall_sentences
from ragents.rag.store.types import SearchQuery, VectorStore
from ragents.rag.types import RAGResponse, Source
from ragents.rag.windows import widen
from ragents.tracing import INPUT, span, tell

__all__ = ["RAGEngine", "RAGResponse"]

EMBEDDING = {"gen_ai.operation.name": "embeddings"}
FUSED_DEPTH = 50
"""Sources of each query where several are fused: one that two lists hold far down may be the best."""


class RAGEngine:
    """Holds what it was handed and owns none of it. `llm` is needed by `query` only."""

    def __init__(
        self,
        *,
        embedder: Embedder,
        store: VectorStore,
        config: RAGConfig | None = None,
        cache: RAGCache | None = None,
        llm: LLMClient | None = None,
        reranking: Reranking | None = None,
    ) -> None:
        self.embedder = embedder
        self.store = store
        self.config = config or RAGConfig()
        self.cache = cache
        self.llm = llm
        self.reranking = reranking

    async def query(
        self,
        text: str,
        *,
        principal: Principal = ANONYMOUS,
        collection: str | None = None,
        top_k: int | None = None,
        filters: Filters | None = None,
    ) -> RAGResponse:
        """Retrieve and answer, without a conversation (the agents hold those)."""
        if self.llm is None:
            raise InputError("this engine was made without a model; pass llm=, or call retrieve()")
        found = await self.retrieve(text, principal=principal, collection=collection, top_k=top_k, filters=filters)
        with asked_by(principal.tenant, read_along=False):
            return await answer_from_sources(found, llm=self.llm, min_confidence=self.config.min_confidence)

    async def retrieve(
        self,
        text: str,
        *,
        principal: Principal = ANONYMOUS,
        collection: str | None = None,
        top_k: int | None = None,
        filters: Filters | None = None,
        use_cache: bool = True,
    ) -> RAGResponse:
        """The best sources for `text`, best first, with the confidence that they tell.

        Raises NotFound for a collection that the principal does not have, StoreUnavailable when the store is down.
        """
        text = text.strip()
        if not text:
            raise InputError("query is empty; ask a question", field="query")
        top_k = top_k or self.config.top_k
        name = collection or self.config.collection
        started = time.perf_counter()
        scope = await self.scope(principal=principal, collection=name, filters=filters)
        if use_cache and self.cache:
            with span("cache retrieval") as step:
                hit = await self.cache.get_retrieval(text, top_k, scope=scope)
                step.set_attribute("ragents.hit", hit is not None)
            if hit is not None:
                return replace(hit, timings={"embed_ms": 0.0, "retrieve_ms": _ms_since(started)})
        depth = max(top_k, LOOKED_AT, self.reranking.candidates if self.reranking else 0)
        asked = SearchQuery(
            text=text,
            embedding=None,
            collection=name,
            top_k=depth,
            candidates=max(self.config.candidates, depth),
            dense_weight=self.config.dense_weight,
            filters=dict(filters or {}),
        )
        lookup_ms = _ms_since(started)
        if self.config.query.active:
            several, timings = await self._search_several(asked, principal=principal, use_cache=use_cache)
            sources, notes, complete = fuse_lists(several.lists, top_k=depth), several.notes, several.complete
            usage = several.usage
        else:
            sources, timings, notes = await self._search(asked, principal=principal)
            complete, usage = True, Usage()
        timings["retrieve_ms"] += lookup_ms
        searched, sources = sources[:top_k], by_nearness(text, sources)
        left_out = None
        if self.reranking is None:
            sources = sources[:top_k]
        else:
            rerank_started = time.perf_counter()
            with span(f"rerank {self.reranking.model}", {"ragents.candidates": len(sources)}) as step:
                sources, left_out = await self.reranking.best(text, sources, top_k)
                step.set_attribute("ragents.left_out", left_out is not None)
            timings["rerank_ms"] = _ms_since(rerank_started)
        if self.config.sentence_vectors and self.llm is not None and self.llm.extractive:
            await recall_sentences(sources, store=self.store, embedder=self.embedder, principal=principal)
        # Of what was found, not of what stands around it; and in the order of the search, on which it was fitted.
        confidence = confidence_of(text, sources if self.reranking else searched)
        if self.config.neighbours:
            sources = await self._widened(sources, timings, principal=principal)
        found = RAGResponse(
            query=text,
            sources=sources,
            confidence=confidence,
            timings=timings,
            notes=notes if left_out is None else (*notes, left_out),
            passing=left_out is not None or not complete,
        )
        # What a late reranker or query left behind is not kept: the next question may find it in time.
        if use_cache and self.cache and not found.passing:
            await self.cache.cache_retrieval(text, found, top_k, scope=scope)
        return replace(found, usage=usage)

    async def scope(
        self, *, principal: Principal, collection: str | None = None, filters: Filters | None = None
    ) -> CacheScope:
        """What a cached result of this collection depends on, as it is now.

        NotFound for an unknown collection, Conflict for one of another model than the encoder's.
        """
        stored = await self.store.collection(collection or self.config.collection, principal=principal)
        if stored.embedding_model != self.embedder.model:
            raise Conflict(
                f"collection {stored.name!r} was made with {stored.embedding_model!r}, and the encoder is "
                f"{self.embedder.model!r}; set {settings_of(stored.embedding_model)}, or move the collection to the "
                "second with `ragents reembed`"
            )
        return CacheScope(
            tenant=principal.tenant,
            collection=stored.name,
            epoch=stored.epoch,
            model=self.embedder.model,
            parameters={
                "filters": dict(filters or {}),
                "candidates": self.config.candidates,
                "dense_weight": self.config.dense_weight,
                "neighbours": self.config.neighbours,
                "reranker": [self.reranking.model, self.reranking.candidates] if self.reranking else None,
                "query": self.config.query.model_dump(exclude={"timeout_s"}) if self.config.query.active else None,
            },
        )

    async def _search(
        self, asked: SearchQuery, *, principal: Principal
    ) -> tuple[tuple[Source, ...], dict[str, float], tuple[str, ...]]:
        """Embed and search one query: sources, timings, notes."""
        started = time.perf_counter()
        with (
            asked_by(principal.tenant, read_along=False),  # whose vectors the cache may find
            span(f"embeddings {self.embedder.model}", EMBEDDING) as step,
        ):
            step.set_attribute("gen_ai.request.model", self.embedder.model)
            embedding, notes = await self._embed_query(asked.text)
        search_started = time.perf_counter()
        with span(
            "retrieval", {"gen_ai.operation.name": "retrieval", "gen_ai.data_source.id": asked.collection}
        ) as step:
            tell(step, INPUT, lambda: asked.text)
            sources = tuple(await self.store.search(replace(asked, embedding=embedding), principal=principal))
            step.set_attribute("ragents.sources", len(sources))
        timings = {"embed_ms": (search_started - started) * 1000, "retrieve_ms": _ms_since(search_started)}
        return sources, timings, notes

    async def _search_several(
        self, asked: SearchQuery, *, principal: Principal, use_cache: bool
    ) -> tuple[Found, dict[str, float]]:
        """The question and what rag.query makes of it, and the timings."""
        config, started = self.config.query, time.perf_counter()
        deep = replace(asked, top_k=max(asked.top_k, FUSED_DEPTH), candidates=max(asked.candidates, FUSED_DEPTH))
        timings: dict[str, float] = {}
        notes: tuple[str, ...] = ()

        async def own() -> tuple[Source, ...]:
            nonlocal timings, notes
            sources, timings, notes = await self._search(deep, principal=principal)
            return sources

        async def other(text: str) -> tuple[Source, ...]:
            return (await self._search(replace(deep, text=text), principal=principal))[0]

        def plan() -> Awaitable[Plan]:
            cache = self.cache if use_cache else None
            return plan_queries(asked.text, config, llm=self.llm, cache=cache, tenant=principal.tenant)

        with asked_by(principal.tenant, read_along=False):
            found = await search_all(own(), plan, other, timeout_s=config.timeout_s)
        timings["retrieve_ms"] = _ms_since(started) - timings["embed_ms"]
        return replace(found, notes=(*notes, *found.notes)), timings

    async def _widened(
        self, sources: tuple[Source, ...], timings: dict[str, float], *, principal: Principal
    ) -> tuple[Source, ...]:
        started = time.perf_counter()
        ids = [source.id for source in sources]
        around = await self.store.neighbours(ids, principal=principal, reach=self.config.neighbours)
        timings["retrieve_ms"] += _ms_since(started)
        return widen(sources, around)

    async def _embed_query(self, text: str) -> tuple[Vectors, tuple[str, ...]]:
        """A question beyond the encoder's limit is searched by the mean of its parts, and the answer says so."""
        tokens = self.embedder.count_tokens([text])[0]
        if tokens <= self.embedder.max_tokens:
            return await self.embedder.embed_query(text), ()
        splitter = TextSplitter.from_callback(
            lambda part: self.embedder.count_tokens([part])[0], self.embedder.max_tokens
        )
        parts = await asyncio.to_thread(splitter.chunks, text)
        mean = (await self.embedder.embed_documents(parts)).mean(axis=0)
        limit = self.embedder.max_tokens
        note = f"the question has {tokens} tokens, the encoder takes {limit}: searched in {len(parts)} parts"
        return mean / max(float(np.linalg.norm(mean)), 1e-12), (note,)


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
