"""SemanticCache: the answer to another wording of a question, as long as it can be trusted."""

import asyncio
import logging
import random
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from ragents.embeddings.types import Embedder, Vectors
from ragents.errors import BackendUnavailable, Overloaded, TextTooLong
from ragents.llm.asked import asked_by
from ragents.principal import Principal
from ragents.rag.cache.cache import LayerCounts
from ragents.rag.cache.semantic.gate import judge
from ragents.rag.cache.semantic.memory import MemoryAnswers
from ragents.rag.cache.semantic.packing import pack, unpack
from ragents.rag.cache.semantic.shadow import ShadowBudget, same_answer
from ragents.rag.cache.semantic.types import (
    AnswerStore,
    SemanticCacheConfig,
    SemanticHit,
    SemanticStats,
    StoredQuestion,
)
from ragents.rag.cache.types import CacheScope
from ragents.rag.types import RAGResponse

log = logging.getLogger(__name__)
T = TypeVar("T")

NEAREST = 8
"""Questions that the gate is asked about: each costs it about half a millisecond."""
UNRELATED = ("How do I renew my passport?", "Which minerals make a volcanic rock dark?")
OPPOSITE = ("How do I enable the firewall?", "How do I disable the firewall?")
COUNTED_TENANTS = 10_000
"""The counts of who was away for longest are forgotten beyond; those of all tenants together go on."""
NOT_STARTED = "the semantic cache has not been started"


class SemanticCache:
    """Finds and keeps answers for `Conversations`. It never fails a request: a broken or slow store is a miss.

    Answers nothing until `start` has passed its self-test, nor once shadow checks have found too many wrong answers;
    `off_because` then says why.
    """

    def __init__(
        self,
        config: SemanticCacheConfig,
        answers: AnswerStore,
        *,
        embedder: Embedder,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.config = config
        self._answers = answers
        self._embedder = embedder
        self._chance = chance
        self._budget = ShadowBudget(config.max_false_hit_rate, config.min_shadow_samples)
        self._counts: OrderedDict[str, Counter[str]] = OrderedDict()
        self._total = Counter[str]()
        self.off_because: str | None = NOT_STARTED if config.enabled else "semantic_cache.enabled is false"

    @property
    def counted(self) -> LayerCounts:
        """Of all tenants of this process, since it began."""
        return LayerCounts(self._total["hits"], self._total["misses"], self._total["evictions"])

    async def start(self) -> None:
        """The self-test: with the encoder that serves, two unrelated questions and two opposite ones miss."""
        if not self.config.enabled:
            return
        self.off_because = await self._failed_self_test()
        if self.off_because is not None:
            log.error("the semantic cache stays off: %s", self.off_because)

    async def find(
        self, question: str, *, scope: CacheScope, principal: Principal, embedding: Vectors | None = None
    ) -> SemanticHit | None:
        """The answer to the nearest question of this scope that the gate lets through. To be asked once the answer
        cache has missed. A hit with `shadow` is not to be served. `embedding`: the question's, where it is known.
        """
        if self.off_because is not None or not self._in_scope(question, scope, principal):
            return None
        vector = embedding if embedding is not None else await self._embedded(question, scope.tenant)
        hit = None
        if vector is not None:
            hit = await self._guarded(self._find(question.strip(), vector, scope), tenant=scope.tenant)
        self._count(scope.tenant, "hits" if hit is not None else "misses")
        return hit

    async def keep(
        self,
        question: str,
        response: RAGResponse,
        *,
        scope: CacheScope,
        principal: Principal,
        used_tools: bool,
        personal: bool,
        embedding: Vectors | None = None,
    ) -> bool:
        """Keep a fresh answer; whether it was. Not one that used tools, of a personal (named) thread, without an answer
        or citations, of low confidence, from a cache, or with notes on how it came about.
        """
        if self.off_because is not None or used_tools or personal or not self._in_scope(question, scope, principal):
            return False
        if not response.answer or not response.citations or response.cached is not None or response.notes:
            return False
        packed = pack(response)
        if response.confidence < self.config.min_confidence or len(packed) > self.config.max_answer_bytes:
            return False
        vector = embedding if embedding is not None else await self._embedded(question, scope.tenant)
        if vector is None:
            return False
        work = self._answers.keep(scope, question.strip(), vector, packed)
        dropped = await self._guarded(work, tenant=scope.tenant)
        self._count(scope.tenant, "evictions", dropped or 0)
        return dropped is not None

    def compare(self, hit: SemanticHit, fresh: RAGResponse) -> bool:
        """The shadow check: whether the answer found is the one given afresh. Switches the layer off beyond its
        budget, for all tenants of this process, until it is started anew.
        """
        same = same_answer(hit.response, fresh)
        self._budget.count(same=same)
        if not same:
            log.warning("shadow check: another answer than the one kept (similarity %.3f)", hit.similarity)
        if self.off_because is None and self._budget.exceeded:
            self.off_because = (
                f"{self._budget.differences} of {self._budget.samples} answers compared were wrong, "
                f"more than the {self.config.max_false_hit_rate:.2%} allowed"
            )
            log.error("the semantic cache switches itself off: %s", self.off_because)
        return same

    async def clear(self, *, tenant: str | None) -> int:
        """How many of the tenant's answers were removed; of every tenant's with None, which is for admins.

        BackendUnavailable when they cannot be.
        """
        return await self._answers.clear(tenant)

    async def stats(self, *, tenant: str | None) -> SemanticStats:
        """Of one tenant, or of all with None, which is for admins."""
        usage = await self._guarded(self._answers.usage(tenant), tenant=tenant or "")
        counts = self._total if tenant is None else self._counts.get(tenant, Counter[str]())
        return SemanticStats(
            hits=counts["hits"],
            misses=counts["misses"],
            entries=usage.entries if usage else 0,
            bytes=usage.bytes if usage else 0,
            age_s=usage.age_s if usage else None,
            known=usage is not None,
            evictions=counts["evictions"],
            refused=counts["refused"],
            shadow_samples=self._budget.samples,
            shadow_differences=self._budget.differences,
            errors=counts["errors"],
            off_because=self.off_because,
        )

    def _in_scope(self, question: str, scope: CacheScope, principal: Principal) -> bool:
        """A scope made for another tenant is the caller's mistake, and no answer crosses for it."""
        if scope.tenant != principal.tenant:
            raise ValueError("the scope is another tenant's")
        return 0 < len(question.strip()) <= self.config.max_question_characters

    async def _embedded(self, question: str, tenant: str) -> Vectors | None:
        """None for what the encoder does not take, now or at all. The service's encoder remembers a tenant's texts."""
        try:
            with asked_by(tenant, read_along=False):
                return await self._embedder.embed_query(question.strip())
        except (TextTooLong, Overloaded):
            return None

    async def _find(self, question: str, embedding: Vectors, scope: CacheScope) -> SemanticHit | None:
        near = await self._answers.nearest(scope, embedding, at_least=self.config.threshold, limit=NEAREST)
        meant = self._let_through(question, near)
        if meant is None:
            self._count(scope.tenant, "refused", len(near) > 0)
            return None
        found = await self._answers.answer(scope, meant.digest)
        response = unpack(found.packed) if found is not None else None
        if found is None or response is None:
            return None
        shadow = self._chance() < self.config.shadow_share
        return SemanticHit(response, meant.question, min(1.0, meant.similarity), found.age_s, shadow=shadow)

    def _let_through(self, question: str, near: Sequence[StoredQuestion]) -> StoredQuestion | None:
        for each in near:
            verdict = judge(question, each.question, each.similarity, threshold=self.config.threshold)
            if verdict.may_share:
                return each
            log.debug("not shared (%s), similarity %.3f", verdict.reason, each.similarity)
        return None

    async def _guarded(self, work: Awaitable[T], *, tenant: str) -> T | None:
        """Its result, or None when the store is broken or slow."""
        try:
            async with asyncio.timeout(self.config.timeout_s):
                return await work
        except (BackendUnavailable, TimeoutError) as error:
            log.warning("the semantic cache goes without its store: %s", type(error).__name__)
            self._count(tenant, "errors")
            return None

    def _count(self, tenant: str, what: str, by: int = 1) -> None:
        self._total[what] += by
        self._counts.setdefault(tenant, Counter())[what] += by
        self._counts.move_to_end(tenant)
        if len(self._counts) > COUNTED_TENANTS:
            self._counts.popitem(last=False)

    async def _failed_self_test(self) -> str | None:
        scope = CacheScope(tenant="self-test", model=self._embedder.model)
        for stored, asked in (UNRELATED, OPPOSITE):
            answers = MemoryAnswers(self.config)
            kept, embedding = await self._embedder.embed_query(stored), await self._embedder.embed_query(asked)
            await answers.keep(scope, stored, kept, b"")
            near = await answers.nearest(scope, embedding, at_least=self.config.threshold, limit=NEAREST)
            if near and (stored, asked) == UNRELATED:
                return f"the encoder {self._embedder.model!r} puts two unrelated questions at {near[0].similarity:.2f}"
            if self._let_through(asked, near) is not None:
                return f"{asked!r} would be given the answer to {stored!r}"
        return None
