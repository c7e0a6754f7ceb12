"""Answers that are made afresh while the old one is good, and answers whose documents change meanwhile."""

from typing import Any

import pytest

from ragents.agents import Turn
from ragents.agents.checkpointing import CheckpointConfig, ThreadState, open_thread_state
from ragents.agents.conversations import Conversations
from ragents.agents.simple import SimpleAgent
from ragents.errors import ModelUnavailable
from ragents.llm.client import LLMClient
from ragents.principal import ANONYMOUS
from ragents.rag.cache import CacheConfig, MemoryCache, RAGCache
from tests.doubles import ScriptedChatModel, WholeChatModel, add_document, make_engine

QUESTION = "Where does adaptive batching sit?"
ANSWER, ANEW = "At the encoder [1].", "Still at the encoder [1]."


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def threads() -> Any:
    async with open_thread_state(CheckpointConfig(backend="memory")) as state:
        yield state


async def make(threads: ThreadState, clock: Clock, *responses: Any) -> Conversations:
    cache = RAGCache(CacheConfig(), MemoryCache(10**7, clock=clock))
    llm = LLMClient.of(ScriptedChatModel(responses=list(responses)), name="m")
    agent = SimpleAgent(llm_client=llm, rag_engine=await make_engine(cache=cache), checkpointer=threads.saver)
    return Conversations({"simple": agent}, cache=cache, threads=threads)


@pytest.mark.parametrize("thread", [None, "t"])
async def test_while_the_model_is_down_an_answer_that_is_still_good_is_told(
    threads: ThreadState, clock: Clock, thread: str | None
) -> None:
    conversations = await make(threads, clock, ANSWER, ConnectionError("down"), ConnectionError("down"), ANEW)
    await conversations.ask(QUESTION)
    clock.now = 3_500.0
    for n in range(2):
        told = await conversations.ask(QUESTION, thread_id=thread and f"{thread}{n}", turn=Turn(id=f"turn {n}"))
        assert (told.answer, told.response.cached, told.response.cached_age_s) == (ANSWER, "answer", 3_500.0)
        view = await conversations.thread(told.thread_id, principal=ANONYMOUS)
        assert [message.text for message in view.messages] == [QUESTION, ANSWER]
        assert view.state == "idle"
    again = await conversations.ask(QUESTION)
    assert (again.answer, again.response.cached) == (ANEW, None)
    clock.now = 4_000.0
    assert (await conversations.ask(QUESTION)).answer == ANEW


async def test_once_its_time_is_over_it_is_not(threads: ThreadState, clock: Clock) -> None:
    conversations = await make(threads, clock, ANSWER, ConnectionError("down"))
    await conversations.ask(QUESTION)
    clock.now = 3_600.0
    with pytest.raises(ModelUnavailable):
        await conversations.ask(QUESTION)


@pytest.mark.parametrize("change", ["another document", "a deletion"])
async def test_what_was_found_before_the_documents_changed_is_answered_and_not_kept(
    threads: ThreadState, clock: Clock, change: str
) -> None:
    conversations = await make(threads, clock, ANSWER)
    engine, cache = conversations.agents["simple"].engine, conversations.cache
    assert cache is not None

    async def meanwhile(messages: object) -> str:
        if change == "another document":
            await add_document(engine, "batching.md", ["It moved."])
        else:
            (found,) = await engine.store.documents(principal=ANONYMOUS, uri="batching.md", limit=1)
            await engine.store.delete(found.id, principal=ANONYMOUS)
        await cache.clear("answer", tenant=ANONYMOUS.tenant)
        return ANSWER

    agent = SimpleAgent(llm_client=WholeChatModel(respond=meanwhile), rag_engine=engine, checkpointer=threads.saver)
    conversations.agents["simple"] = agent
    assert (await conversations.ask(QUESTION)).answer == ANSWER
    assert (await cache.stats())["answer"].entries == 0
