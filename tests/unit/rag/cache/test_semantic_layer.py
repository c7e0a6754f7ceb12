"""SemanticCache over answers in memory: what it keeps, what it gives, and when it stops."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from string import ascii_letters
from typing import Any

import numpy as np
import pytest

from ragents.embeddings.hashing import HashingEmbedder
from ragents.embeddings.types import Vectors
from ragents.errors import BackendUnavailable
from ragents.principal import Principal
from ragents.rag.cache import CacheScope
from ragents.rag.cache.semantic import (
    MemoryAnswers,
    SemanticCache,
    SemanticCacheConfig,
    SemanticHit,
    StoredQuestion,
    layer,
)
from ragents.rag.cache.semantic.shadow import ShadowBudget, same_answer
from ragents.rag.types import Citation, RAGResponse

PRINCIPAL = Principal(tenant="t")
SCOPE = CacheScope(tenant="t", collection="c", epoch=1, model="m")
VECTOR = np.eye(1, 384, dtype=np.float32)[0]
QUESTION, REWORDED = "How do I reset my password?", "Could you please tell me how to reset my password?"
ANSWER = RAGResponse(
    QUESTION, confidence=0.9, answer="Press the red button for 5 seconds [1].", citations=(Citation(1, "s", "Press"),)
)


def make(answers: MemoryAnswers | None = None, *, chance: float = 1.0, **settings: Any) -> SemanticCache:
    config = SemanticCacheConfig(enabled=True, **settings)
    store = answers or MemoryAnswers(config)
    return SemanticCache(config, store, embedder=HashingEmbedder(), chance=lambda: chance)


async def started(answers: MemoryAnswers | None = None, *, chance: float = 1.0, **settings: Any) -> SemanticCache:
    cache = make(answers, chance=chance, **settings)
    await cache.start()
    assert cache.off_because is None
    return cache


async def keep(cache: SemanticCache, response: RAGResponse = ANSWER, **changes: Any) -> bool:
    how: dict[str, Any] = {"embedding": VECTOR, "scope": SCOPE, "principal": PRINCIPAL}
    how |= {"used_tools": False, "personal": False}
    return await cache.keep(QUESTION, response, **(how | changes))


async def find(cache: SemanticCache, question: str = REWORDED, **changes: Any) -> SemanticHit | None:
    how: dict[str, Any] = {"embedding": VECTOR, "scope": SCOPE, "principal": PRINCIPAL}
    return await cache.find(question, **(how | changes))


class OneVector(HashingEmbedder):
    """An encoder that tells nothing apart."""

    async def embed_query(self, text: str) -> Vectors:
        return VECTOR


class Broken(MemoryAnswers):
    async def nearest(
        self, scope: CacheScope, embedding: Vectors, *, at_least: float, limit: int
    ) -> list[StoredQuestion]:
        raise BackendUnavailable("semantic cache", "it cannot be reached")


class Slow(MemoryAnswers):
    async def nearest(
        self, scope: CacheScope, embedding: Vectors, *, at_least: float, limit: int
    ) -> list[StoredQuestion]:
        await asyncio.Event().wait()
        return []


async def test_it_answers_nothing_unless_it_is_enabled() -> None:
    config = SemanticCacheConfig()
    cache = SemanticCache(config, MemoryAnswers(config), embedder=HashingEmbedder())
    await cache.start()
    assert not await keep(cache)
    assert await find(cache) is None
    assert (await cache.stats(tenant="t")).off_because == "semantic_cache.enabled is false"


async def test_it_answers_nothing_before_its_self_test() -> None:
    cache = make()
    assert not await keep(cache)
    assert await find(cache) is None


async def test_with_an_encoder_that_tells_nothing_apart_it_refuses_to_switch_on() -> None:
    config = SemanticCacheConfig(enabled=True)
    cache = SemanticCache(config, MemoryAnswers(config), embedder=OneVector())
    await cache.start()
    assert "two unrelated questions at 1.00" in (cache.off_because or "")
    assert not await keep(cache)
    assert await find(cache) is None


async def test_a_gate_that_lets_opposites_through_keeps_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = make(threshold=0.5)
    monkeypatch.setattr(cache, "_let_through", lambda question, near: next(iter(near), None))
    await cache.start()
    assert "would be given the answer" in (cache.off_because or "")


async def test_another_wording_gets_the_answer_with_its_similarity_and_age() -> None:
    now = [0.0]
    cache = await started(MemoryAnswers(SemanticCacheConfig(), clock=lambda: now[0]))
    assert await keep(cache)
    now[0] = 7.0
    hit = await find(cache)
    assert hit is not None
    assert (hit.response, hit.question, hit.similarity, hit.age_s, hit.shadow) == (ANSWER, QUESTION, 1.0, 7.0, False)
    stats = await cache.stats(tenant="t")
    assert (stats.hits, stats.misses, stats.entries, stats.hit_rate) == (1, 0, 1, 1.0)


async def test_a_question_that_differs_gets_none_however_near() -> None:
    cache = await started()
    await keep(cache)
    assert await find(cache, "How do I never reset my password?") is None
    stats = await cache.stats(tenant="t")
    assert (stats.hits, stats.misses, stats.refused) == (0, 1, 1)


@pytest.mark.parametrize(
    "scope",
    [
        replace(SCOPE, epoch=2),
        replace(SCOPE, model="n"),
        replace(SCOPE, collection="d"),
        replace(SCOPE, parameters={"prompt": 2}),
    ],
)
async def test_another_scope_gets_none(scope: CacheScope) -> None:
    cache = await started()
    await keep(cache)
    assert await find(cache, scope=scope) is None


async def test_another_tenant_gets_none_and_a_scope_of_another_tenant_is_refused() -> None:
    cache = await started()
    await keep(cache)
    other = Principal(tenant="u")
    assert await find(cache, scope=replace(SCOPE, tenant="u"), principal=other) is None
    with pytest.raises(ValueError, match="another tenant"):
        await find(cache, principal=other)
    with pytest.raises(ValueError, match="another tenant"):
        await keep(cache, principal=other)


@pytest.mark.parametrize(
    ("response", "changes"),
    [
        (ANSWER, {"used_tools": True}),
        (ANSWER, {"personal": True}),
        (replace(ANSWER, confidence=0.49), {}),
        (replace(ANSWER, answer=None), {}),
        (replace(ANSWER, citations=()), {}),
        (replace(ANSWER, cached="answer"), {}),
        (replace(ANSWER, notes=("stopped after 3 steps",)), {}),
        (replace(ANSWER, answer="".join(random.Random(7).choices(ascii_letters, k=300_000))), {}),
    ],
    ids=["tools", "personal", "unsure", "no answer", "no source", "cached", "cut short", "too long"],
)
async def test_what_may_not_be_shared_is_not_kept(response: RAGResponse, changes: dict[str, Any]) -> None:
    cache = await started(max_answer_bytes=100_000)
    assert not await keep(cache, response, **changes)
    assert await find(cache, QUESTION) is None


async def test_long_and_empty_questions_are_neither_kept_nor_looked_up() -> None:
    cache = await started(max_question_characters=20)
    assert not await keep(cache)
    assert await find(cache, " ") is None
    assert (await cache.stats(tenant="t")).misses == 0


async def test_without_a_vector_it_asks_the_encoder_and_what_is_too_long_for_it_is_a_miss() -> None:
    cache = await started()
    assert await keep(cache, embedding=None)
    hit = await find(cache, "And how do I reset my password?", embedding=None)
    assert hit is not None
    assert hit.similarity < 1
    tiny = SemanticCache(cache.config, MemoryAnswers(cache.config), embedder=HashingEmbedder(max_tokens=11))
    await tiny.start()
    assert tiny.off_because is None
    question = "one two three four five six seven eight nine ten?"
    assert await tiny.find(question, scope=SCOPE, principal=PRINCIPAL) is None
    assert not await tiny.keep(question, ANSWER, scope=SCOPE, principal=PRINCIPAL, used_tools=False, personal=False)


@pytest.mark.parametrize("store", [Broken, Slow])
async def test_a_broken_or_slow_store_is_a_miss_that_is_counted(store: type[MemoryAnswers]) -> None:
    cache = await started(store(SemanticCacheConfig()), timeout_s=0.01)
    assert await find(cache) is None
    stats = await cache.stats(tenant="t")
    assert (stats.misses, stats.errors) == (1, 1)


async def test_what_cannot_be_read_back_is_a_miss() -> None:
    answers = MemoryAnswers(SemanticCacheConfig())
    cache = await started(answers)
    await answers.keep(SCOPE, QUESTION, VECTOR, b"not an answer")
    assert await find(cache) is None


async def test_the_sampled_share_of_hits_is_marked_for_a_fresh_answer() -> None:
    shares = []
    for chance in (0.0, 0.019, 0.02, 0.9):
        cache = await started(chance=chance)
        await keep(cache)
        hit = await find(cache)
        assert hit is not None
        shares.append(hit.shadow)
    assert shares == [True, True, False, False]


async def test_it_switches_itself_off_above_its_budget_once_there_are_samples_enough() -> None:
    cache = await started(min_shadow_samples=3, max_false_hit_rate=0.001)
    await keep(cache)
    hit = await find(cache)
    assert hit is not None
    other = replace(ANSWER, answer="Ask your administrator.", citations=(Citation(1, "z", "Ask"),))
    assert not cache.compare(hit, other)
    assert cache.compare(hit, ANSWER)
    assert await find(cache) is not None
    assert cache.compare(hit, ANSWER)
    assert await find(cache) is None
    assert not await keep(cache)
    stats = await cache.stats(tenant="t")
    assert stats.false_hit_rate == pytest.approx(1 / 3)
    assert "1 of 3" in (stats.off_because or "")


async def test_clearing_removes_the_tenants_answers() -> None:
    cache = await started()
    await keep(cache)
    assert await cache.clear(tenant="u") == 0
    assert await cache.clear(tenant="t") == 1
    assert await find(cache) is None


def test_within_its_budget_it_stays_on() -> None:
    budget = ShadowBudget(max_rate=0.001, min_samples=20)
    for n in range(2_000):
        budget.count(same=n not in (1_000, 1_900))
        assert budget.exceeded == (n in range(1_900, 1_999))


@pytest.mark.parametrize(
    ("fresh", "sources", "same"),
    [
        ("Press the red button for 5 seconds.", ["z"], True),
        ("For 5 seconds, press the red button [2]!", ["s"], True),
        ("You press the button (the red one) during 5 seconds, then let go of it.", ["s"], True),
        ("Press the red button for 9 seconds [1].", ["s"], False),
        ("Ask your administrator [1].", ["s"], False),
        ("Ask your administrator [1].", ["z"], False),
        ("The documents do not tell.", [], False),
    ],
)
def test_answers_are_the_same_by_numbers_words_and_sources(fresh: str, sources: Sequence[str], same: bool) -> None:
    cited = tuple(Citation(n, source, "q") for n, source in enumerate(sources, start=1))
    assert same_answer(ANSWER, RAGResponse(QUESTION, answer=fresh, citations=cited)) is same


async def test_counts_of_more_tenants_than_are_remembered_stay_in_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "COUNTED_TENANTS", 10)
    cache = await started()
    for n in range(100):
        tenant = f"t{n}"
        await find(cache, scope=replace(SCOPE, tenant=tenant), principal=Principal(tenant=tenant))
    assert len(cache._counts) == 10
    assert (await cache.stats(tenant="t99")).misses == 1
    assert (await cache.stats(tenant="t0")).misses == 0
    assert (await cache.stats(tenant=None)).misses == cache.counted.misses == 100


async def test_asking_for_the_statistics_of_a_tenant_that_is_not_there_remembers_nothing() -> None:
    cache = await started()
    for n in range(100):
        await cache.stats(tenant=f"t{n}")
    assert not cache._counts
