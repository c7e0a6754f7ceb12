"""LLMClient: deadlines, fallbacks, and errors that do not tell about the upstream server."""

import asyncio

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage

from ragents.errors import ConfigError, ModelUnavailable
from ragents.llm import ModelConfig
from ragents.llm.client import LLMClient, NamedModel
from tests.doubles import broken_model, hanging_model

ASK = [HumanMessage("hello")]


SECRET = RuntimeError("http://10.0.0.1:8000 said sk-secret")


async def test_a_failure_is_named_without_the_servers_words() -> None:
    with pytest.raises(ModelUnavailable) as error:
        await LLMClient.of(broken_model(SECRET), name="main").generate(ASK)
    assert "main: failed (RuntimeError)" in str(error.value)
    assert "secret" not in str(error.value)
    assert "10.0.0.1" not in str(error.value)


async def test_a_hanging_model_is_cut_off() -> None:
    with pytest.raises(ModelUnavailable, match="main: timed out"):
        await LLMClient.of(hanging_model(), name="main", timeout_s=0.05).generate(ASK)


async def test_a_fallback_answers_under_its_own_name() -> None:
    client = LLMClient(
        [NamedModel("main", broken_model(SECRET)), NamedModel("spare", FakeListChatModel(responses=["hi"]))]
    )
    said = await client.generate(ASK)
    assert (said.message.content, said.model) == ("hi", "spare")


async def test_cancelling_is_not_a_failure_of_the_model() -> None:
    task = asyncio.create_task(LLMClient.of(hanging_model()).generate(ASK))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_an_unknown_provider_is_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError, match="'magic'.*'extractive'"):
        LLMClient(ModelConfig(provider="magic", model_name="m"))


def test_a_provider_that_is_not_installed_is_refused_with_the_package() -> None:
    with pytest.raises(ConfigError, match="pip install langchain-anthropic"):
        LLMClient(ModelConfig(provider="anthropic", model_name="m"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"model_name": "gpt"}, "llm.api_key"), ({"base_url": "http://127.0.0.1:1/v1"}, "llm.model_name")],
)
def test_an_openai_model_without_key_or_name_is_refused(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        LLMClient(ModelConfig(provider="openai", **settings))  # type: ignore[arg-type]
