"""A stream is whole when its server says so; what was cut short says that it was."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage

from benchmarks.mock_llm import MockLLM
from benchmarks.mock_llm.types import Step
from ragents.errors import ModelUnavailable
from ragents.llm.asked import asked_by
from ragents.llm.client import LLMClient, NamedModel
from ragents.llm.endings import ending_of
from ragents.llm.failures import Unfinished
from ragents.llm.types import Ending, ModelConfig
from tests.doubles import ScriptedChatModel

ASK = [HumanMessage("hello")]
SEND = {"type": "function", "function": {"name": "send", "parameters": {"type": "object", "properties": {}}}}


def client(mock: MockLLM, **settings: Any) -> LLMClient:
    return LLMClient(ModelConfig(provider="openai", model_name="mock", base_url=mock.url, **settings))


@pytest.mark.parametrize("fault", ["end_midway", "no_reason"])
@pytest.mark.parametrize("provider", ["openai", "vllm"])
async def test_a_stream_that_does_not_say_that_it_is_whole_is_none(mock: MockLLM, fault: Any, provider: str) -> None:
    mock.play(Step(fault=fault))
    kinds: list[str] = []
    config = ModelConfig(provider=provider, model_name="mock", base_url=mock.url)
    with pytest.raises(ModelUnavailable, match="mock: ended its answer without finishing it$"):
        await LLMClient(config, on_failure=kinds.append).generate(ASK)
    assert (kinds, len(mock.seen.requests)) == (["connection"], 1), "what was said may have been read"


async def test_half_of_a_call_is_none(mock: MockLLM) -> None:
    mock.play(Step(fault="no_reason", tool_calls=[{"name": "send", "arguments": {"to": "account 1"}}]))
    with pytest.raises(ModelUnavailable):
        await client(mock).generate(ASK, tools=[SEND])


@pytest.mark.parametrize("read_along", [True, False], ids=["in pieces", "whole"])
async def test_a_call_of_a_tool_that_nobody_offered_is_no_answer(mock: MockLLM, read_along: bool) -> None:
    mock.play(Step(tool_calls=[{"name": "send", "arguments": {"to": "account 1"}}]))
    with asked_by("", read_along=read_along):
        with pytest.raises(ModelUnavailable, match="mock: answered with nothing$"):
            await client(mock).generate(ASK)
        assert (await client(mock).generate(ASK, tools=[SEND])).message.tool_calls
        spare = NamedModel("spare", ScriptedChatModel(responses=["It is so."]))
        assert (await LLMClient([*client(mock).models, spare]).generate(ASK)).model == "spare"


async def test_an_answer_that_came_in_one_piece_is_whole_also_without_a_word_on_its_end(mock: MockLLM) -> None:
    mock.play(Step(fault="no_reason"))
    with asked_by("", read_along=False):
        assert (await client(mock).generate(ASK)).ending == "stop"
    never_in_pieces = client(mock, extra={"disable_streaming": True})
    assert (await never_in_pieces.generate(ASK)).message.text == "The passages tell. [1]"


async def test_a_model_of_another_provider_need_not_say_how_it_ended() -> None:
    assert (await LLMClient.of(ScriptedChatModel(responses=["It is so."])).generate(ASK)).ending == "stop"


@pytest.mark.parametrize("read_along", [True, False], ids=["in pieces", "whole"])
async def test_what_was_cut_short_says_so(mock: MockLLM, read_along: bool) -> None:
    with asked_by("", read_along=read_along):
        for reason in ("length", "content_filter", "stop"):
            mock.play(Step(finish_reason=reason))
            assert (await client(mock).generate(ASK)).ending == reason
        mock.play(Step(finish_reason="abort"))
        with pytest.raises(ModelUnavailable, match="without finishing it"):
            await client(mock, max_retries=0).generate(ASK)


@pytest.mark.parametrize("read_along", [True, False], ids=["in pieces", "whole"])
async def test_blanks_are_no_answer(mock: MockLLM, read_along: bool) -> None:
    mock.play(Step(content=" "))
    with asked_by("", read_along=read_along), pytest.raises(ModelUnavailable, match="mock: answered with nothing$"):
        await client(mock).generate(ASK)


@pytest.mark.parametrize(
    ("told", "ending"),
    [
        ({"finish_reason": "MAX_TOKENS"}, "length"),
        ({"stop_reason": "max_tokens"}, "length"),
        ({"done_reason": "length"}, "length"),
        ({"stop_reason": "refusal"}, "content_filter"),
        ({"finish_reason": "SAFETY"}, "content_filter"),
        ({"stopReason": "guardrail_intervened"}, "content_filter"),
        ({"stop_reason": "end_turn"}, "stop"),
        ({"finish_reason": "tool_calls"}, "stop"),
        ({"finish_reason": None}, "stop"),
    ],
)
def test_providers_have_words_of_their_own(told: dict[str, Any], ending: Ending) -> None:
    assert ending_of([AIMessage("x", response_metadata=told)], told=False) == ending


def test_an_ending_that_is_said_twice_is_one() -> None:
    pieces = [
        AIMessageChunk(content="x", response_metadata={"finish_reason": each}) for each in ("", "length", "length")
    ]
    assert ending_of([*pieces, AIMessageChunk(content="")], told=True) == "length"
    with pytest.raises(Unfinished):
        ending_of(pieces[:1], told=True)
