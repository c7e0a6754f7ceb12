"""The simple agent on threads, and turns that come from the cache."""

import pytest
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.memory import InMemorySaver

from ragents.agents import AgentConfig, Turn
from ragents.agents.checkpointing.serializer import strict_serializer
from ragents.agents.conversations import Conversations
from ragents.agents.langgraph_base import LangGraphAgent, thread_config
from ragents.agents.simple import SimpleAgent
from ragents.agents.table import AGENTS
from ragents.agents.threads import history_digest
from ragents.errors import InputError, ModelUnavailable
from ragents.llm.client import LLMClient
from ragents.principal import ANONYMOUS, Principal
from tests.doubles import WholeChatModel, add_document, broken_model, hanging_model, make_cache, make_engine

QUESTION = "Where does adaptive batching sit?"


async def make_agent(model: BaseChatModel | None = None, *, turn_timeout_s: float = 20) -> LangGraphAgent:
    engine = await make_engine()
    assert engine.llm is not None
    return SimpleAgent(
        llm_client=model or engine.llm,
        rag_engine=engine,
        checkpointer=InMemorySaver(serde=strict_serializer()),
        config=AgentConfig(turn_timeout_s=turn_timeout_s),
    )


async def make_conversations() -> Conversations:
    agent = await make_agent()
    return Conversations({"simple": agent}, cache=make_cache())


async def test_a_turn_that_takes_too_long_ends() -> None:
    agent = await make_agent(hanging_model(), turn_timeout_s=1)
    answer = await agent.process_message(QUESTION, thread_id="t")
    assert "1 s" in answer.response.notes[-1]
    assert "batching.md" in answer.answer, "what was found is told"
    snapshot = await agent.snapshot("t", principal=ANONYMOUS)
    assert snapshot is not None
    assert snapshot.next == ()
    assert [m.type for m in snapshot.values["messages"]] == ["human", "ai"]


async def test_a_model_that_fails_is_unavailable() -> None:
    agent = await make_agent(broken_model(ConnectionError()))
    with pytest.raises(ModelUnavailable):
        await agent.process_message(QUESTION)


async def test_an_answer_has_a_source_a_citation_and_a_new_thread() -> None:
    answer = await (await make_agent()).process_message(QUESTION)
    assert answer.agent_type == "simple"
    assert answer.response.sources[0].uri == "batching.md"
    assert answer.response.citations[0].source_id == answer.response.sources[0].id
    assert len(answer.thread_id) == 36


async def test_a_plain_chat_model_is_accepted_as_llm_client() -> None:
    answer = await (await make_agent(FakeListChatModel(responses=["At the encoder [1]."]))).process_message(QUESTION)
    assert answer.answer == "At the encoder [1]."


async def test_a_thread_keeps_its_turns_and_belongs_to_its_principal() -> None:
    agent = await make_agent()
    for question in (QUESTION, "What does the cat do?"):
        await agent.process_message(question, thread_id="t", turn=Turn())
    assert [m.type for m in await agent.history("t", principal=ANONYMOUS)] == ["human", "ai", "human", "ai"]
    assert await agent.history("t", principal=Principal("other")) == []
    assert await agent.history("t", principal=Principal(user="other")) == []


async def test_the_model_sees_the_conversation_so_far() -> None:
    seen: list[list[BaseMessage]] = []

    async def respond(messages: list[BaseMessage]) -> str:
        seen.append(messages)
        return "one"

    agent = await make_agent(WholeChatModel(respond=respond))
    for question in (QUESTION, "And why is adaptive batching there?"):
        await agent.process_message(question, thread_id="t")
    assert [m.type for m in seen[1]] == ["system", "human", "ai", "human"]
    assert seen[1][2].content == "one"


def test_thread_ids_of_different_owners_never_meet() -> None:
    pairs = [
        (Principal("a", "b:c"), "d"),
        (Principal("a:b", "c"), "d"),
        (Principal("a", "b"), "c:d"),
        (Principal("a", "b"), "c%3Ad"),
    ]
    assert len({thread_config(p, t)["configurable"]["thread_id"] for p, t in pairs}) == len(pairs)


async def test_an_unknown_agent_is_an_input_error_with_the_choices() -> None:
    with pytest.raises(InputError, match="'simple'") as error:
        await (await make_conversations()).ask(QUESTION, agent_type="magic")
    assert (error.value.field, error.value.code) == ("agent_type", "unknown_agent")


async def test_the_same_question_again_comes_from_the_cache_and_still_lands_on_a_thread() -> None:
    conversations = await make_conversations()
    first, second = await conversations.ask(QUESTION), await conversations.ask(QUESTION)
    assert (first.response.cached, second.response.cached) == (None, "answer")
    assert first.answer == second.answer
    assert first.thread_id != second.thread_id
    history = await conversations.agents["simple"].history(second.thread_id, principal=ANONYMOUS)
    assert [m.type for m in history] == ["human", "ai"]


async def test_a_turn_after_a_cached_one_goes_on() -> None:
    conversations = await make_conversations()
    await conversations.ask(QUESTION)
    thread = (await conversations.ask(QUESTION)).thread_id
    await conversations.ask("What does the cat do?", thread_id=thread)
    history = await conversations.agents["simple"].history(thread, principal=ANONYMOUS)
    assert [m.type for m in history] == ["human", "ai", "human", "ai"]


async def test_a_thread_with_another_history_misses() -> None:
    conversations = await make_conversations()
    await conversations.ask(QUESTION)
    await conversations.ask("What does the cat do?", thread_id="t")
    assert (await conversations.ask(QUESTION, thread_id="t")).response.cached is None


@pytest.mark.parametrize("change", [{"top_k": 1}, {"principal": Principal(user="x")}, {"max_tokens": 9}])
async def test_what_shapes_the_answer_is_part_of_the_key(change: dict[str, object]) -> None:
    conversations = await make_conversations()
    await conversations.ask(QUESTION)
    again = await conversations.ask(QUESTION, turn=Turn(**change))  # type: ignore[arg-type]
    assert again.response.cached == ("answer" if "principal" in change else None)


async def test_a_changed_collection_is_answered_anew() -> None:
    conversations = await make_conversations()
    await conversations.ask(QUESTION)
    await add_document(conversations.agents["simple"].engine, "more.md", ["Something else."])
    assert (await conversations.ask(QUESTION)).response.cached is None


async def test_without_the_cache_an_answer_is_neither_read_nor_kept() -> None:
    conversations = await make_conversations()
    await conversations.ask(QUESTION, turn=Turn(use_cache=False))
    assert (await conversations.ask(QUESTION)).response.cached is None
    assert (await conversations.ask(QUESTION, turn=Turn(use_cache=False))).response.cached is None


async def test_an_agent_without_a_checkpointer_answers_and_remembers_nothing() -> None:
    engine = await make_engine()
    agent = SimpleAgent(llm_client=LLMClient.of(FakeListChatModel(responses=["x"])), rag_engine=engine)
    answer = await agent.process_message(QUESTION, thread_id="t")
    assert answer.answer == "x"
    assert await agent.history("t", principal=ANONYMOUS) == []


async def test_every_agent_in_the_table_is_named_as_its_key() -> None:
    assert all(name == agent.name and agent.description for name, agent in AGENTS.items())


def test_the_digest_tells_conversations_apart() -> None:
    from langchain_core.messages import AIMessage, HumanMessage

    conversations: list[list[BaseMessage]] = [
        [],
        [HumanMessage("ab")],
        [HumanMessage("a"), AIMessage("b")],
        [AIMessage("ab")],
        [HumanMessage("a"), HumanMessage("b")],
    ]
    assert len({history_digest(c) for c in conversations}) == len(conversations)
