"""What a model made of a question is asked of it once: for the same tenant, model, prompt, history and words."""

import json
from dataclasses import replace

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from ragents.agents import Turn
from ragents.agents.checkpointing.serializer import strict_serializer
from ragents.agents.langgraph import LangGraphRAGAgent
from ragents.config.rag_config import QueryConfig
from ragents.llm.client import LLMClient
from ragents.principal import ANONYMOUS, Principal
from ragents.rag.cache import CacheConfig, MemoryCache, RAGCache, rewrite_scope
from ragents.rag.query import plan_queries
from tests.doubles import ScriptedChatModel, add_document, make_cache, make_engine

QUESTION = "What is the retry policy?"
CONFIG = QueryConfig(multi_query="llm", variants=3)
SCOPE = rewrite_scope(tenant="t", models=["m"], prompt="p", history="h")


def model(*texts: str) -> ScriptedChatModel:
    return ScriptedChatModel(responses=[json.dumps({"queries": texts})])


def client(scripted: ScriptedChatModel, name: str = "scripted") -> LLMClient:
    return LLMClient.of(scripted, name=name)


async def test_a_plan_is_made_once_and_the_second_costs_nothing() -> None:
    cache, asked = make_cache(), model("how often is it tried again")
    first = await plan_queries(QUESTION, CONFIG, llm=client(asked), cache=cache, tenant="t")
    second = await plan_queries(QUESTION, CONFIG, llm=client(asked), cache=cache, tenant="t")
    assert first.queries == second.queries == ("how often is it tried again",)
    assert len(asked.seen) == 1
    assert first.usage.prompt_tokens > 0
    assert second.usage.prompt_tokens == 0
    stats = (await cache.stats(tenant="t"))["query_rewrite"]
    assert (stats.hits, stats.misses, stats.entries) == (1, 1, 1)


async def test_that_there_is_nothing_to_add_is_remembered_too() -> None:
    cache, asked = make_cache(), model()
    for _ in range(2):
        assert (await plan_queries(QUESTION, CONFIG, llm=client(asked), cache=cache, tenant="t")).queries == ()
    assert len(asked.seen) == 1


@pytest.mark.parametrize("other", ["tenant", "model", "variants", "kind", "question"])
async def test_another_tenant_model_prompt_or_question_asks_again(other: str) -> None:
    cache, asked = make_cache(), model("one")
    await plan_queries(QUESTION, CONFIG, llm=client(asked), cache=cache, tenant="t")
    await plan_queries(
        "What is the policy?" if other == "question" else QUESTION,
        {"variants": QueryConfig(multi_query="llm", variants=2), "kind": QueryConfig(decompose="llm")}.get(
            other, CONFIG
        ),
        llm=client(asked, "another" if other == "model" else "scripted"),
        cache=cache,
        tenant="u" if other == "tenant" else "t",
    )
    assert len(asked.seen) == 2


async def test_what_failed_is_not_kept() -> None:
    cache, asked = make_cache(), ScriptedChatModel(responses=["no JSON"])
    for _ in range(2):
        plan = await plan_queries(QUESTION, CONFIG, llm=client(asked), cache=cache, tenant="t")
        assert "made by rules" in plan.notes[0]
    assert len(asked.seen) == 2


@pytest.mark.parametrize("damaged", [b'\x00"text"', b"\x00[1]", b"\x00{}", b"\x00", b"\x01x"])
async def test_an_entry_that_is_no_list_of_texts_is_a_miss(damaged: bytes) -> None:
    backend = MemoryCache(10**6)
    cache = RAGCache(CacheConfig(), backend)
    await cache.cache_rewrite("q", ["text"], scope=SCOPE)
    await backend.set(next(iter(backend._entries)), damaged, 100)
    assert await cache.get_rewrite("q", scope=SCOPE) is None
    assert (await cache.stats())["query_rewrite"].hits == 0


async def test_strange_characters_come_back() -> None:
    cache = make_cache()
    await cache.cache_rewrite("\ud800", ["\0 é 🙂"], scope=SCOPE)
    assert await cache.get_rewrite("\ud800", scope=SCOPE) == ("\0 é 🙂",)
    await cache.cache_rewrite("half", ["\ud800"], scope=SCOPE)
    assert await cache.get_rewrite("half", scope=SCOPE) is None, "half of a surrogate pair is no text"


async def test_a_changed_collection_keeps_the_plan_and_searches_again() -> None:
    engine, asked = await make_engine(cache=make_cache()), model("the encoder")
    engine.llm, engine.config = client(asked), engine.config.model_copy(update={"query": CONFIG})
    await engine.retrieve("Where does batching sit?")
    await add_document(engine, "new.md", ["Batching also sits in the reranker."])
    found = await engine.retrieve("Where does batching sit?")
    assert "new.md" in {each.uri for each in found.sources}
    assert len(asked.seen) == 1
    await engine.retrieve("Where does batching sit?", use_cache=False)
    assert len(asked.seen) == 2, "whoever passes the cache by passes all of it by"


HISTORY: tuple[BaseMessage, ...] = (HumanMessage("Where does batching sit?"), AIMessage("At the encoder [1]."))
REWRITTEN = json.dumps({"question": "Why does batching sit at the encoder?"})


async def asking_agent() -> tuple[LangGraphRAGAgent, ScriptedChatModel]:
    def respond(messages: list[BaseMessage]) -> str:
        return REWRITTEN if "Rewrite the last question" in messages[0].text else "Because the model is there [1]."

    scripted = ScriptedChatModel(responses=[respond])
    engine = await make_engine(cache=make_cache(), llm=client(scripted))
    saver = InMemorySaver(serde=strict_serializer())
    return LangGraphRAGAgent(llm_client=engine.llm, rag_engine=engine, checkpointer=saver), scripted


def rewrites(scripted: ScriptedChatModel) -> int:
    return sum("Rewrite the last question" in messages[0].text for messages in scripted.seen)


async def test_a_follow_up_is_rewritten_once_for_the_same_conversation() -> None:
    agent, scripted = await asking_agent()
    for _ in range(2):
        await agent.process_message("Why is it there?", turn=Turn(history=HISTORY))
    assert rewrites(scripted) == 1
    assert agent.engine.cache is not None
    assert (await agent.engine.cache.stats(tenant=ANONYMOUS.tenant))["query_rewrite"].hits == 1


@pytest.mark.parametrize(
    "other",
    [
        Turn(history=(*HISTORY, HumanMessage("And?"), AIMessage("No."))),
        Turn(history=(HISTORY[0], AIMessage("At the store [1]."))),
        Turn(history=HISTORY, use_cache=False),
        Turn(history=HISTORY, principal=replace(Principal(), tenant="other")),
    ],
    ids=["more said", "other answer", "without cache", "other tenant"],
)
async def test_of_another_conversation_or_tenant_it_is_rewritten_anew(other: Turn) -> None:
    agent, scripted = await asking_agent()
    await add_document(agent.engine, "a.md", ["Batching."], principal=Principal(tenant="other"))
    await agent.process_message("Why is it there?", turn=Turn(history=HISTORY))
    await agent.process_message("Why is it there?", turn=other)
    assert rewrites(scripted) == 2
