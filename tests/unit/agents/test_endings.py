"""What becomes of an answer that its model did not finish, or that rests on nothing it names, at each agent."""

from typing import Any

import pytest

from benchmarks.mock_llm import MockLLM
from benchmarks.mock_llm.types import Step, ToolCall
from ragents.agents.conversations import Conversations
from ragents.agents.langgraph import LangGraphRAGAgent
from ragents.agents.logical import LogicalAgent
from ragents.agents.react import ReactAgent
from ragents.agents.simple import SimpleAgent
from ragents.agents.speech import Speech
from ragents.agents.types import AgentAnswer, AgentEvent
from ragents.errors import ModelUnavailable
from ragents.llm.client import LLMClient
from ragents.llm.endings import CUT_SHORT
from ragents.llm.types import ModelConfig
from ragents.rag.answering import UNCITED
from tests.doubles import make_cache, make_engine

AGENTS = ["simple", "langgraph", "logical", "react"]
QUESTION = "Where does adaptive batching sit?"
SEARCH = Step(tool_calls=[ToolCall(name="search_documents", arguments={"query": "adaptive batching"})])
SUM = Step(tool_calls=[ToolCall(name="calculate", arguments={"expression": "14 + 14"})])


@pytest.fixture
async def conversations(mock: MockLLM) -> Conversations:
    llm = LLMClient(ModelConfig(provider="openai", model_name="mock", base_url=mock.url, max_retries=0))
    cache = make_cache()
    engine = await make_engine(cache=cache)
    kinds = (SimpleAgent, LangGraphRAGAgent, LogicalAgent, ReactAgent)
    agents = {kind.name: kind(llm_client=llm, rag_engine=engine) for kind in kinds}
    return Conversations(agents, cache=cache)


def play(mock: MockLLM, agent: str, **step: Any) -> None:
    """react must have searched before it may answer."""
    mock.play(*([SEARCH] if agent == "react" else []), Step(**step))


async def read_along(conversations: Conversations, agent: str) -> tuple[AgentAnswer, list[AgentEvent]]:
    events: list[AgentEvent] = []

    async def emit(event: AgentEvent) -> None:
        events.append(event)

    speech = Speech(emit)
    answer = await conversations.ask(QUESTION, agent_type=agent, speech=speech)
    await speech.end(answer)
    return answer, events


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("step", [{"fault": "end_midway"}, {"fault": "no_reason"}, {"content": " "}], ids=str)
async def test_a_stream_that_ends_too_early_is_a_failure_and_not_kept(
    conversations: Conversations, mock: MockLLM, agent: str, step: dict[str, Any]
) -> None:
    play(mock, agent, **step)
    with pytest.raises(ModelUnavailable):
        await read_along(conversations, agent)
    play(mock, agent, content="At the encoder [1].")
    answer = await conversations.ask(QUESTION, agent_type=agent)
    assert (answer.answer, answer.response.cached) == ("At the encoder [1].", None)


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("reason", ["length", "content_filter"])
@pytest.mark.parametrize("reads", [True, False], ids=["streamed", "whole"])
async def test_an_answer_that_was_cut_short_says_so_and_is_not_kept(
    conversations: Conversations, mock: MockLLM, agent: str, reason: Any, reads: bool
) -> None:
    play(mock, agent, content="At the [1]", finish_reason=reason)
    for _ in range(2):
        if reads:
            answer, _ = await read_along(conversations, agent)
        else:
            answer = await conversations.ask(QUESTION, agent_type=agent)
        response = answer.response
        assert (response.cached, response.ending, response.answer) == (None, reason, "At the [1]")
        assert response.notes.count(CUT_SHORT[response.ending]) == 1
        play(mock, agent, content="At the [1]", finish_reason=reason)
    play(mock, agent, content="At the encoder [1].")
    for layer in (None, "answer"):
        response = (await conversations.ask(QUESTION, agent_type=agent)).response
        assert (response.cached, response.ending, response.notes) == (layer, "stop", ())


@pytest.mark.parametrize("agent", AGENTS)
async def test_an_answer_that_cites_nothing_has_no_confidence_and_a_note(
    conversations: Conversations, mock: MockLLM, agent: str
) -> None:
    play(mock, agent, content="It is certainly 99 days.")
    response = (await conversations.ask(QUESTION, agent_type=agent)).response
    assert (response.answer, response.confidence, response.citations) == ("It is certainly 99 days.", 0.0, ())
    assert response.notes.count(UNCITED) == 1
    assert response.sources


async def test_what_a_model_says_of_a_calculation_is_not_exact(conversations: Conversations, mock: MockLLM) -> None:
    mock.play(SUM, Step(content="FAKE says 28 days. And a lie."))
    response = (await conversations.ask("What is 14 + 14?", agent_type="react")).response
    assert (response.sources, response.confidence, response.notes) == ((), 0.0, (UNCITED,))


async def test_what_is_computed_from_the_question_alone_is_certain(conversations: Conversations, mock: MockLLM) -> None:
    mock.play(Step(fault="500"))  # nobody is asked
    question = "How many days lie between 1990-01-01 and 2022-08-23?"
    response = (await conversations.ask(question, agent_type="logical")).response
    assert (response.answer, response.confidence) == ("Between them lie 11922 days.", 1.0)
    assert UNCITED not in response.notes
