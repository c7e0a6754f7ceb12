"""Several queries of one question: planned, searched at once, fused; nothing waits for what is late."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata

from ragents.config.loading import load_settings
from ragents.config.rag_config import QueryConfig
from ragents.deployment.config import ServiceConfig
from ragents.errors import BackendUnavailable, ConfigError, StoreUnavailable
from ragents.llm.client import LLMClient
from ragents.principal import ANONYMOUS
from ragents.rag.confidence import confidence_of
from ragents.rag.engine import RAGEngine
from ragents.rag.nearness import LOOKED_AT, by_nearness
from ragents.rag.query import Plan, fuse_lists, plan_queries, search_all
from ragents.rag.store import SearchQuery
from ragents.rag.types import Source
from tests.doubles import ScriptedChatModel, make_cache, make_engine

QUESTION = "Where does adaptive batching sit and what sleeps on the windowsill?"


def source(name: str, similarity: float = 0.5) -> Source:
    return Source(name, name, name, name, name, score=0.9, similarity=similarity)


def sources(names: str) -> tuple[Source, ...]:
    return tuple(source(name) for name in names)


async def given(value: Any) -> Any:
    return value


def test_of_one_list_the_order_and_scores_stay() -> None:
    assert fuse_lists([sources("abc")], top_k=2) == sources("ab")


def test_what_several_lists_hold_comes_first_and_ties_go_to_the_question() -> None:
    fused = fuse_lists([sources("abc"), sources("dbe"), sources("fbg")], top_k=5)
    assert [each.id for each in fused] == ["b", "a", "d", "f", "c"]
    assert [each.score for each in fused] == sorted((each.score for each in fused), reverse=True)
    assert all(0 < each.score <= 1 for each in fused)


def test_the_first_in_every_list_scores_one() -> None:
    assert fuse_lists([sources("a"), sources("a")], top_k=1)[0].score == pytest.approx(1.0)


def test_a_source_keeps_its_similarity_to_the_question() -> None:
    fused = fuse_lists([[source("a", 0.3)], [source("a", 0.9)]], top_k=1)
    assert fused[0].similarity == 0.3


async def test_the_own_search_fails_the_whole() -> None:
    async def failing() -> tuple[Source, ...]:
        raise StoreUnavailable("down")

    with pytest.raises(StoreUnavailable):
        await search_all(failing(), lambda: given(Plan(("x",))), lambda _: given(()), timeout_s=1)


async def test_a_mistake_in_a_query_is_not_swallowed() -> None:
    async def broken(query: str) -> tuple[Source, ...]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await search_all(given(()), lambda: given(Plan(("x",))), broken, timeout_s=1)


async def test_a_query_that_fails_or_is_late_is_left_out_and_named() -> None:
    async def search(query: str) -> tuple[Source, ...]:
        if query == "late":
            await asyncio.Event().wait()
        if query == "down":
            raise BackendUnavailable("embedder", "gone")
        return sources(query)

    plan = Plan(("b", "late", "down"))
    async with asyncio.timeout(5):
        found = await search_all(given(sources("a")), lambda: given(plan), search, timeout_s=0.1)
    assert found.lists == (sources("a"), sources("b"))
    assert not found.complete
    assert found.notes == (
        "searched also for: b",
        "1 of 3 other queries left out: late by more than 0.1 s",
        "1 of 3 other queries left out: their search failed",
    )


async def test_a_plan_that_is_late_leaves_the_question_alone() -> None:
    async def never() -> Plan:
        await asyncio.Event().wait()
        return Plan()

    async with asyncio.timeout(5):
        found = await search_all(given(sources("a")), never, lambda _: given(()), timeout_s=0.05)
    assert (found.lists, found.complete) == ((sources("a"),), False)
    assert "question alone" in found.notes[0]


async def test_nothing_runs_on_after_the_caller_has_gone() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def search(query: str) -> tuple[Source, ...]:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ()

    async def own() -> tuple[Source, ...]:
        await asyncio.Event().wait()
        return ()

    task = asyncio.create_task(search_all(own(), lambda: given(Plan(("x",))), search, timeout_s=60))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


def scripted(replies: Sequence[Any]) -> LLMClient:
    return LLMClient.of(ScriptedChatModel(responses=list(replies)), name="scripted")


def queries(*texts: str) -> str:
    return json.dumps({"queries": texts})


async def test_a_model_writes_the_queries() -> None:
    config = QueryConfig(multi_query="llm", variants=2)
    plan = await plan_queries(
        "Why?", config, llm=scripted([queries("why?", " one\n query ", "two", "three", "x" * 999)])
    )
    assert (plan.queries, plan.notes) == (("one query", "two"), ())
    assert plan.usage.completion_tokens > 0


@pytest.mark.parametrize("reply", ["no JSON", '{"queries": "text"}', '{"other": []}', RuntimeError("down")])
async def test_where_the_model_fails_rules_do_it_and_the_notes_say_so(reply: Any) -> None:
    plan = await plan_queries("What is the retry policy?", QueryConfig(multi_query="llm"), llm=scripted([reply]))
    assert plan.queries == ("the retry policy", "retry policy")
    assert plan.notes == ("wordings of the question were made by rules: the model gave none",)


async def test_where_no_model_generates_rules_do_it() -> None:
    engine = await make_engine()
    plan = await plan_queries("What is the retry policy?", QueryConfig(multi_query="llm"), llm=engine.llm)
    assert plan == Plan(("the retry policy", "retry policy"))


async def test_parts_come_before_wordings_within_the_number_of_variants() -> None:
    config = QueryConfig(multi_query="rules", decompose="rules", variants=3)
    plan = await plan_queries(QUESTION, config, llm=None)
    assert plan.queries[:2] == ("Where does adaptive batching sit", "what sleeps on the windowsill?")
    assert len(plan.queries) == 3


async def made(*, cache: Any = None, **query: Any) -> RAGEngine:
    engine = await make_engine(cache=cache)
    engine.config = engine.config.model_copy(update={"query": QueryConfig(**query)})
    return engine


@pytest.mark.parametrize("written", ["off", '"off"', "rules", "llm"])
def test_settings_are_read_from_the_environment_and_yaml(written: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"rag:\n  query:\n    decompose: {written}\n")
    environ = {"RAGENTS_RAG__QUERY__MULTI_QUERY": written.strip('"')}
    query = load_settings(ServiceConfig, path=file, environ=environ).rag.query
    assert (query.decompose, query.multi_query) == (written.strip('"'), written.strip('"'))
    assert query.active is ("off" not in written)


@pytest.mark.parametrize("written", ["on", "sometimes", "3"])
def test_another_way_is_refused(written: str) -> None:
    with pytest.raises(ConfigError, match=r"rag\.query\.multi_query"):
        load_settings(ServiceConfig, environ={"RAGENTS_RAG__QUERY__MULTI_QUERY": written})


async def test_the_engine_finds_what_each_part_asks_for() -> None:
    engine = await made(decompose="rules")
    found = await engine.retrieve(QUESTION, top_k=2)
    assert {each.uri for each in found.sources} == {"batching.md", "cats.md"}
    assert found.notes == ("searched also for: Where does adaptive batching sit; what sleeps on the windowsill?",)
    assert {"embed_ms", "retrieve_ms"} <= set(found.timings)
    assert all(each.score <= 1 for each in found.sources)


@pytest.mark.parametrize(("gate", "tokens"), [(0.0, (13, 4)), (1.1, (10, 3))])
async def test_what_the_model_took_for_the_queries_is_counted_once(gate: float, tokens: tuple[int, int]) -> None:
    def counted(text: str, prompt: int, completion: int) -> AIMessage:
        usage = UsageMetadata(input_tokens=prompt, output_tokens=completion, total_tokens=prompt + completion)
        return AIMessage(text, usage_metadata=usage)

    engine = await made(cache=make_cache(), multi_query="llm")
    engine.config = engine.config.model_copy(update={"min_confidence": gate})
    engine.llm = scripted([counted(queries("adaptive batching"), 10, 3), counted("At the encoder [1].", 3, 1)])
    first, again = await engine.query(QUESTION), await engine.retrieve(QUESTION)
    assert (first.usage.prompt_tokens, first.usage.completion_tokens) == tokens
    assert again.usage.prompt_tokens == 0


async def test_without_the_setting_nothing_changes() -> None:
    engine = await make_engine()
    asked = await engine.embedder.embed_query(QUESTION)
    found = await engine.retrieve(QUESTION, top_k=3)
    query = SearchQuery(QUESTION, asked, "default", top_k=LOOKED_AT, candidates=engine.config.candidates)
    searched = await engine.store.search(query, principal=ANONYMOUS)
    assert found.sources == by_nearness(QUESTION, searched)[:3]
    assert found.confidence == confidence_of(QUESTION, searched[:3])
    assert found.notes == ()


async def test_the_cache_keeps_settings_apart_and_what_is_whole_only() -> None:
    cache = make_cache()
    engine = await made(cache=cache, decompose="rules")
    await engine.retrieve(QUESTION)
    engine.config = engine.config.model_copy(update={"query": QueryConfig()})
    assert (await engine.retrieve(QUESTION)).notes == ()
    engine.config = engine.config.model_copy(update={"query": QueryConfig(decompose="llm")})
    engine.llm = scripted(["no JSON", "no JSON"])
    for _ in range(2):
        assert "made by rules" in (await engine.retrieve(QUESTION)).notes[0]
    assert (await cache.stats())["retrieval"].hits == 0
