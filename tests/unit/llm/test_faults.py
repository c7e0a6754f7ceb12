"""Each fault of a real server: what is tried again, what is final, and that the next call works."""

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, InvalidToolCall

from benchmarks.mock_llm import MockLLM, open_mock_llm
from benchmarks.mock_llm.types import Step
from ragents.errors import ModelUnavailable
from ragents.llm.asked import asked_by
from ragents.llm.client import LLMClient
from ragents.llm.types import ModelConfig, Usage
from tests.doubles import ScriptedChatModel

ASK = [HumanMessage("hello")]
SECOND = Step(content="second answer")


@pytest.fixture(params=[True, False], ids=["in pieces", "whole"])
def read_along(request: pytest.FixtureRequest) -> Iterator[bool]:
    with asked_by("", read_along=request.param):
        yield request.param


def client(*mocks: MockLLM, kinds: list[str] | None = None, **settings: Any) -> LLMClient:
    times = {"first_token_timeout_s": 1.2, "timeout_s": 3.0, **settings}
    config = ModelConfig(provider="openai", model_name="mock", base_urls=[each.url for each in mocks], **times)
    told: Any = kinds.append if kinds is not None else None
    return LLMClient(config, on_failure=told)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("429", "rate_limited"),
        ("500", "server_error"),
        ("503", "server_error"),
        ("reset", "connection"),
        ("hang", "timeout"),
    ],
)
async def test_what_passes_by_itself_is_tried_again(read_along: bool, mock: MockLLM, fault: Any, kind: str) -> None:
    mock.play(Step(fault=fault), SECOND)
    kinds: list[str] = []
    said = await client(mock, kinds=kinds).generate(ASK)
    assert (said.message.content, kinds) == ("second answer", [kind])
    assert len(mock.seen.requests) == 2


async def test_nobody_has_read_half_of_an_answer_that_was_asked_for_whole(mock: MockLLM) -> None:
    for fault, tries in (("hang_midway", 2), ("reset_midway", 2), ("garbage_midway", 1)):
        mock.play(Step(fault=fault), SECOND)  # type: ignore[arg-type]
        with asked_by("", read_along=False):
            if tries == 2:
                assert (await client(mock).generate(ASK)).message.content == "second answer"
            else:
                with pytest.raises(ModelUnavailable):
                    await client(mock).generate(ASK)
        assert len(mock.seen.requests) == tries


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("hang_midway", "timeout"), ("reset_midway", "connection"), ("garbage_midway", "malformed")],
)
async def test_once_a_token_has_come_a_failure_is_final(mock: MockLLM, fault: Any, kind: str) -> None:
    mock.play(Step(fault=fault), SECOND)
    kinds: list[str] = []
    with pytest.raises(ModelUnavailable):
        await client(mock, kinds=kinds).generate(ASK)
    assert (kinds, len(mock.seen.requests)) == ([kind], 1)
    assert (await client(mock).generate(ASK)).message.content == "second answer"


@pytest.mark.parametrize("fault", ["garbage", "empty"])
async def test_nonsense_is_not_asked_for_again(read_along: bool, mock: MockLLM, fault: Any) -> None:
    mock.play(Step(fault=fault), SECOND)
    kinds: list[str] = []
    with pytest.raises(ModelUnavailable):
        await client(mock, kinds=kinds).generate(ASK)
    assert (kinds, len(mock.seen.requests)) == (["malformed"], 1)


async def test_a_stream_without_its_last_line_is_an_answer(mock: MockLLM) -> None:
    mock.play(Step(fault="no_done"))
    assert (await client(mock).generate(ASK)).message.content == "The passages tell. [1]"


async def test_the_time_that_the_server_asks_for_is_waited(mock: MockLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("ragents.llm.client.pause", pause)
    mock.play(Step(fault="429", retry_after_s=7), SECOND)
    await client(mock).generate(ASK)
    assert pauses == [7]


async def test_a_server_that_asks_for_too_long_is_left_to_the_fallback(mock: MockLLM) -> None:
    mock.play(Step(fault="429", retry_after_s=600), SECOND)
    with pytest.raises(ModelUnavailable, match="status 429"):
        await client(mock).generate(ASK)


async def test_an_endpoint_that_keeps_failing_is_left_alone_and_tried_again_later(mock: MockLLM) -> None:
    mock.play(Step(fault="500"))
    failing = client(mock, max_retries=0, breaker_failures=2, breaker_reset_s=30)
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match="status 500"):
            await failing.generate(ASK)
    with pytest.raises(ModelUnavailable, match="left alone"):
        await failing.generate(ASK)
    assert len(mock.seen.requests) == 2
    mock.play(SECOND)
    failing.models[0].replicas[0].breaker._opened = 0.0  # long ago
    assert (await failing.generate(ASK)).message.content == "second answer"


async def test_what_opens_the_breaker_again_is_named_and_so_is_what_has_opened_it(mock: MockLLM) -> None:
    mock.play(Step(fault="500"))
    failing = client(mock, max_retries=1, breaker_failures=1, breaker_reset_s=60)
    with pytest.raises(ModelUnavailable, match="mock: answered with status 500$"):
        await failing.generate(ASK)
    failing.models[0].replicas[0].breaker._opened = 0.0  # long ago
    mock.play(Step(fault="401"))
    with pytest.raises(ModelUnavailable, match="mock: answered with status 401$"):
        await failing.generate(ASK)
    with pytest.raises(ModelUnavailable, match=r"repeated failures \(the last one: answered with status 401\)"):
        await failing.generate(ASK)


async def test_a_request_that_is_refused_as_such_opens_nothing(mock: MockLLM) -> None:
    mock.play(Step(fault="400"), Step(fault="400"), SECOND)
    asking = client(mock, max_retries=0, breaker_failures=1, breaker_reset_s=60)
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match="status 400"):
            await asking.generate(ASK)
    assert (await asking.generate(ASK)).message.content == "second answer"


async def test_the_next_replica_answers_for_one_that_fails(mock: MockLLM) -> None:
    with open_mock_llm() as other:
        mock.play(Step(fault="500"))
        other.play(SECOND)
        both = client(mock, other)
        for _ in range(3):
            assert (await both.generate(ASK)).message.content == "second answer"


async def test_tokens_are_counted(read_along: bool, mock: MockLLM) -> None:
    mock.play()
    usage = (await client(mock).generate(ASK)).usage
    assert usage == Usage(1, 4)


@pytest.mark.parametrize("cut", ['{"to": "acc', '{"to": ', "[1]", "no"])
async def test_arguments_that_were_cut_off_are_no_call(cut: str) -> None:
    message = AIMessage("", invalid_tool_calls=[InvalidToolCall(name="send", args=cut, id="c", error=None)])
    send = {"type": "function", "function": {"name": "send", "parameters": {"type": "object", "properties": {}}}}
    said = await LLMClient.of(ScriptedChatModel(responses=[message])).generate(ASK, tools=[send])
    assert said.message.tool_calls == []
    assert [(call["name"], call["args"]) for call in said.message.invalid_tool_calls] == [("send", cut)]
