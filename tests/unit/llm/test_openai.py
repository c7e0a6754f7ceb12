"""OpenAI-compatible servers, over real HTTP: what is sent to which, and what comes back."""

from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from pydantic import BaseModel, SecretStr

from benchmarks.mock_llm import MockLLM
from benchmarks.mock_llm.types import Step
from ragents.cli.output import check_models
from ragents.deployment.config import ServiceConfig
from ragents.errors import ConfigError, ModelUnavailable
from ragents.llm.asked import asked_by
from ragents.llm.client import LLMClient
from ragents.llm.types import ModelConfig, Price
from ragents.rag.answering import answer_from_sources
from ragents.rag.types import RAGResponse, Source

ASK = [HumanMessage("hello")]


def client(mock: MockLLM, provider: str = "openai", **settings: Any) -> LLMClient:
    return LLMClient(ModelConfig(provider=provider, model_name="my-model", base_url=mock.url, **settings))


class Shape(BaseModel):
    corners: int


async def test_a_server_that_refuses_is_named_without_its_words(mock: MockLLM) -> None:
    mock.play(Step(fault="500"))
    with pytest.raises(ModelUnavailable) as error:
        await client(mock, max_retries=0).generate(ASK)
    assert "my-model: answered with status 500" in str(error.value)
    assert "words of the server" not in str(error.value)


def test_a_setting_that_the_library_does_not_take_is_refused_as_one(mock: MockLLM) -> None:
    told = r"^llm.extra: 'foo'.*llm.extra.extra_body"
    with pytest.warns(UserWarning, match="foo"), pytest.raises(ConfigError, match=told):
        client(mock, extra={"foo": 1})
    for fine in ({"seed": 1}, {"extra_body": {"foo": 1}}, {"disable_streaming": True}, {"model_kwargs": {"user": "u"}}):
        client(mock, extra=fine)


@pytest.mark.parametrize(
    ("fallback", "told"),
    [
        ({"provider": "openai"}, r"^llm.fallbacks.1.api_key is not set; set it in RAGENTS_LLM__FALLBACKS"),
        ({"provider": "vllm"}, r"^llm.fallbacks.1.base_url is not set"),
        ({"provider": "openai", "base_url": "http://127.0.0.1:1/v1"}, r"^llm.fallbacks.1.model_name is not set"),
        ({"provider": "magic", "model_name": "m"}, r"^llm.fallbacks.1.provider = 'magic'"),
    ],
)
def test_what_is_wrong_with_a_fallback_is_said_of_the_fallback(
    mock: MockLLM, fallback: dict[str, str], told: str
) -> None:
    fine = {"provider": "openai", "model_name": "m", "base_url": mock.url}
    config = ModelConfig.model_validate({**fine, "fallbacks": [fine, fallback]})
    with pytest.raises(ConfigError, match=told):
        LLMClient(config)
    with pytest.raises(ConfigError, match=told):
        check_models(ServiceConfig(llm=config))


async def test_passages_and_question_are_sent_and_the_answer_is_checked(mock: MockLLM) -> None:
    mock.play(Step(content="It sits at the encoder [1]. Or elsewhere [7]."))
    source = Source("c1", "d1", "a.md", "Architecture", "Batching sits at the encoder. It is sorted.", 1.0, page=3)
    found = RAGResponse("Where does batching sit?", (source,), confidence=0.9)
    llm = client(mock, api_key=SecretStr("sk-1"), temperature=0.1, price=Price(prompt=1.0, completion=10.0))
    answered = await answer_from_sources(found, llm=llm, min_confidence=0.3, max_tokens=50)
    assert answered.answer == "It sits at the encoder [1]. Or elsewhere."
    assert answered.citations[0].quote == "Batching sits at the encoder."
    assert answered.usage.completion_tokens == 9
    assert answered.usage.cost_usd == pytest.approx((answered.usage.prompt_tokens + 9 * 10) / 1e6)
    sent, headers = mock.seen.requests[0], mock.seen.headers[0]
    assert headers["authorization"] == "Bearer sk-1"
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("my-model", 0.1, 50)
    assert 'from="Architecture, page 3"' in sent["messages"][-1]["content"]
    assert sent["messages"][-1]["content"].endswith("Question: Where does batching sit?")
    assert set(sent["messages"][-1]) == {"role", "content"}


async def test_fields_of_vllm_go_to_vllm_alone(mock: MockLLM) -> None:
    mock.play()
    for provider in ("openai", "vllm"):
        await client(mock, provider).generate(ASK, schema=Shape)
    plain, salted = mock.seen.requests
    assert set(salted) - set(plain) == {"cache_salt", "response_format"}
    assert salted["response_format"]["json_schema"]["schema"]["required"] == ["corners"]


async def test_each_tenant_has_a_salt_of_its_own_that_does_not_name_it(mock: MockLLM) -> None:
    mock.play()
    llm = client(mock, "vllm", cache_salt_key=SecretStr("k"), extra={"extra_body": {"min_p": 0.1}})
    for tenant in ("acme", "acme", "globex"):
        with asked_by(tenant, read_along=False):
            await llm.generate(ASK)
    salts = [request["cache_salt"] for request in mock.seen.requests]
    assert salts[0] == salts[1] != salts[2]
    assert "acme" not in salts[0]
    assert mock.seen.requests[0]["min_p"] == 0.1, "what the settings add stays"


async def test_a_schema_is_sent_where_the_settings_say_so(mock: MockLLM) -> None:
    mock.play()
    await client(mock, structured_output=True).generate(ASK, schema=Shape)
    assert mock.seen.requests[0]["response_format"]["type"] == "json_schema"


def test_vllm_without_an_address_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"llm\.base_url"):
        LLMClient(ModelConfig(provider="vllm", model_name="m"))
