"""Every setting and every field of a request is in the key of its answer, or is named here with why it need not be."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from ragents.agents import AgentConfig, Turn
from ragents.agents.conversations import Asked, Conversations
from ragents.agents.react import ReactAgent
from ragents.agents.simple import SimpleAgent
from ragents.agents.tools import create_tool
from ragents.config.rag_config import QueryConfig, RAGConfig
from ragents.deployment.schemas import QueryRequest, TableQueryRequest
from ragents.llm.client import LLMClient
from ragents.llm.types import ModelConfig
from ragents.principal import Principal
from ragents.rag.rerank import Reranking
from ragents.rag.rerank.types import RerankConfig
from tests.doubles import ScriptedChatModel, add_document, make_cache, make_engine

OTHER_RAG: dict[str, Any] = {
    "candidates": 50,
    "dense_weight": 0.1,
    "query": QueryConfig(multi_query="rules"),
    "neighbours": 1,
    "top_k": 3,
    "min_confidence": 0.9,
    "collection": "other",
}
NO_MATTER_RAG = {
    "embedding_model": "it is the encoder's name, which is in the key, and the store refuses any other",
    "chunking": "it cuts what is ingested, which moves the epoch on",
    "chunk_size": "as chunking",
    "chunk_overlap": "as chunking",
    "sentence_vectors": "the vectors are the same, made earlier",
}
OTHER_QUERY: dict[str, Any] = {"multi_query": "llm", "decompose": "rules", "variants": 5}
NO_MATTER_QUERY = {"timeout_s": "what a late query would have changed is not kept"}
OTHER_MODEL: dict[str, Any] = {
    "provider": "openai",
    "model_name": "another",
    "temperature": 0.1,
    "max_tokens": 7,
    "base_url": "http://there/v1",
    "base_urls": ["http://there/v1", "http://here/v1"],
    "context_tokens": 4096,
    "structured_output": True,
    "extra": {"seed": 1},
}
NO_MATTER_MODEL = {
    **dict.fromkeys(["api_key", "cache_salt_key", "price"], "it does not change what is said"),
    **dict.fromkeys(
        ["connect_timeout_s", "first_token_timeout_s", "timeout_s", "max_retries", "breaker_failures"],
        "it changes whether there is an answer, and not which",
    ),
    "breaker_reset_s": "as timeouts",
    "fallbacks": "each is a model of its own in the key",
}
NO_MATTER_AGENTS = {
    **dict.fromkeys(
        ["turn_timeout_s", "max_steps", "max_tokens_per_turn"], "an answer that one of them cut short is not kept"
    ),
    **dict.fromkeys(["concurrent_turns", "thread_wait_s"], "it is about when"),
}
NO_MATTER_RERANK = {
    **dict.fromkeys(["provider", "model", "base_url"], "it is the reranker's name, which is in the key"),
    "candidates": "it is in the key (see the test of the reranker)",
    "timeout_s": "what a late reranker left as it was is not kept",
    **dict.fromkeys(["api_key", "device"], "it does not change the ranking"),
}
HISTORY = (HumanMessage("a"), AIMessage("b"))
OTHER_TURN: dict[str, Any] = {
    "principal": Principal(tenant="other"),
    "collection": "other",
    "top_k": 2,
    "filters": {"year": 2024},
    "max_tokens": 9,
    "history": HISTORY,
}
NO_MATTER_TURN = {
    "use_cache": "without it the cache is passed by",
    "budget": "an answer that it cut short is not kept",
    "id": "it names the turn",
}
NO_MATTER_REQUEST = {
    "query": "it is the text beside the scope",
    "agent_type": "the scope is made for its agent",
    "thread_id": "its history is in the scope",
    "priority": "it is about when",
    "use_cache": "as in the turn",
}


async def key(turn: Turn | None = None, *, rag: Mapping[str, Any] | None = None, **others: Any) -> str:
    engine = await make_engine(cache=make_cache())
    for tenant in ("default", "other"):
        for name in ("default", "other"):
            await add_document(engine, "a.md", ["text"], principal=Principal(tenant=tenant), collection=name)
    engine.config = engine.config.model_copy(update=dict(rag or {}))
    engine.reranking = others.get("reranking")
    for _ in range(others.get("changes", 0)):
        await add_document(engine, "a.md", ["other text"], collection="default")
    llm = others.get("llm") or LLMClient.of(ScriptedChatModel(responses=["a"]), name="m")
    tools = {"tools": others["tools"]} if "tools" in others else {}
    agent = others.get("agent", SimpleAgent)(llm_client=llm, rag_engine=engine, **tools)
    scope = await Conversations({agent.name: agent}, cache=engine.cache)._scope(
        Asked("q", agent, turn or Turn(), "thread", named=False)
    )
    return scope.key("answer", "q")


async def test_the_same_request_has_the_same_key() -> None:
    assert await key() == await key()


@pytest.mark.parametrize("name", OTHER_RAG)
async def test_another_setting_of_retrieval_is_another_key(name: str) -> None:
    assert await key(rag={name: OTHER_RAG[name]}) != await key()


@pytest.mark.parametrize("name", OTHER_QUERY)
async def test_another_way_of_making_queries_is_another_key(name: str) -> None:
    on = QueryConfig(multi_query="rules")
    assert await key(rag={"query": on.model_copy(update={name: OTHER_QUERY[name]})}) != await key(rag={"query": on})


@pytest.mark.parametrize("name", OTHER_TURN)
async def test_another_request_is_another_key(name: str) -> None:
    assert await key(replace(Turn(), **{name: OTHER_TURN[name]})) != await key()


@pytest.mark.parametrize("name", OTHER_MODEL)
def test_another_setting_of_the_model_is_another_fingerprint(name: str) -> None:
    other = ModelConfig.model_construct(**{**dict(ModelConfig()), name: OTHER_MODEL[name]})
    assert other.fingerprint != ModelConfig().fingerprint


@pytest.mark.parametrize("name", NO_MATTER_MODEL)
def test_what_does_not_change_an_answer_does_not_lose_the_cache(name: str) -> None:
    other = ModelConfig.model_construct(**{**dict(ModelConfig()), name: "other"})
    assert other.fingerprint == ModelConfig().fingerprint


async def test_another_model_fallback_or_temperature_is_another_key() -> None:
    def client(**settings: Any) -> LLMClient:
        return LLMClient(ModelConfig(provider="openai", base_url="http://127.0.0.1:1/v1", model_name="m", **settings))

    clients = [
        client(),
        client(temperature=0.0),
        client(fallbacks=[ModelConfig(provider="openai", base_url="http://127.0.0.1:1/v1", model_name="n")]),
    ]
    assert len({await key(llm=each) for each in clients}) == 3


async def test_a_changed_collection_or_reranker_is_another_key() -> None:
    class Ranking:
        model = "r"

    def reranking(candidates: int) -> Reranking:
        return Reranking(Ranking(), RerankConfig(candidates=candidates))  # type: ignore[arg-type]  # never asked

    keys = [await key(), await key(changes=1), await key(reranking=reranking(10)), await key(reranking=reranking(20))]
    assert len(set(keys)) == 4


async def test_another_description_or_argument_of_a_tool_is_another_key() -> None:
    async def look(what: str) -> str:
        """Look it up."""
        return what

    async def look_closely(what: str, closely: bool = True) -> str:
        """Look it up."""
        return what

    tools = [
        [],
        [create_tool(look)],
        [create_tool(look, description="Look it up in the almanac.")],
        [create_tool(look_closely, name="look")],
    ]
    assert len({await key(agent=ReactAgent, tools=each) for each in tools}) == 4
    assert await key(agent=ReactAgent) != await key()


async def test_a_chat_model_that_is_handed_in_is_known_by_its_settings() -> None:
    def client(temperature: float) -> LLMClient:
        return LLMClient.of(ChatOpenAI(model="m", api_key=SecretStr("k"), temperature=temperature), name="m")

    assert await key(llm=client(0.1)) == await key(llm=client(0.1))
    assert await key(llm=client(0.1)) != await key(llm=client(0.2))


@pytest.mark.parametrize(
    ("known", "named"),
    [
        (set(RAGConfig.model_fields), {*OTHER_RAG, *NO_MATTER_RAG}),
        (set(QueryConfig.model_fields), {*OTHER_QUERY, *NO_MATTER_QUERY}),
        (set(ModelConfig.model_fields), {*OTHER_MODEL, *NO_MATTER_MODEL}),
        (set(AgentConfig.model_fields), set(NO_MATTER_AGENTS)),
        (set(RerankConfig.model_fields), set(NO_MATTER_RERANK)),
        ({each.name for each in fields(Turn)}, {*OTHER_TURN, *NO_MATTER_TURN}),
        (set(QueryRequest.model_fields), {*OTHER_TURN, *NO_MATTER_REQUEST} - {"principal", "history"}),
        (
            set(TableQueryRequest.model_fields),
            {*OTHER_TURN, *NO_MATTER_REQUEST, "table_name"} - {"principal", "history", "collection"},
        ),
    ],
    ids=["rag", "rag.query", "llm", "agents", "rerank", "turn", "/query", "/api/v1/query"],
)
def test_a_field_that_is_new_must_be_named_here(known: set[str], named: set[str]) -> None:
    assert known == named
