"""LLMClient: deadlines, fallbacks, and errors that do not tell about the upstream server."""

import asyncio

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.outputs import ChatResult

from ragents.errors import ConfigError, ModelUnavailable
from ragents.llm import ModelConfig, create_chat_model
from ragents.llm.client import LLMClient, NamedModel

ASK = [HumanMessage("hello")]


class Broken(FakeListChatModel):
    responses: list[str] = []

    async def _agenerate(self, messages: list[BaseMessage], *_: object, **__: object) -> ChatResult:
        raise RuntimeError("http://10.0.0.1:8000 said sk-secret")


class Hanging(FakeListChatModel):
    responses: list[str] = []

    async def _agenerate(self, messages: list[BaseMessage], *_: object, **__: object) -> ChatResult:
        await asyncio.Event().wait()
        raise AssertionError


async def no_embedding(texts: object) -> object:
    raise AssertionError


async def test_a_failure_is_named_without_the_servers_words() -> None:
    with pytest.raises(ModelUnavailable) as error:
        await LLMClient.of(Broken(), name="main").generate(ASK)
    assert "main: failed (RuntimeError)" in str(error.value)
    assert "secret" not in str(error.value)
    assert "10.0.0.1" not in str(error.value)


async def test_a_hanging_model_is_cut_off() -> None:
    with pytest.raises(ModelUnavailable, match="main: timed out"):
        await LLMClient.of(Hanging(), name="main", timeout_s=0.05).generate(ASK)


async def test_a_fallback_answers_under_its_own_name() -> None:
    client = LLMClient([NamedModel("main", Broken()), NamedModel("spare", FakeListChatModel(responses=["hi"]))])
    message, model = await client.generate(ASK)
    assert (message.content, model) == ("hi", "spare")


async def test_cancelling_is_not_a_failure_of_the_model() -> None:
    task = asyncio.create_task(LLMClient.of(Hanging()).generate(ASK))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_an_unknown_provider_is_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError, match="'magic'.*'extractive'"):
        create_chat_model(ModelConfig(provider="magic"), embed=no_embedding)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"model_name": "gpt"}, "llm.api_key"), ({"base_url": "http://127.0.0.1:1/v1"}, "llm.model_name")],
)
def test_an_openai_model_without_key_or_name_is_refused(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        create_chat_model(ModelConfig(provider="openai", **settings), embed=no_embedding)  # type: ignore[arg-type]
