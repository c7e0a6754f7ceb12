"""Any OpenAI-compatible server: OpenAI, vLLM, TGI, Ollama, llama.cpp."""

import inspect
from collections.abc import Mapping

import httpx
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models.base import BaseChatOpenAI
from openai.resources.chat.completions import AsyncCompletions
from openai.resources.responses import AsyncResponses
from pydantic import SecretStr

from ragents.errors import ConfigError
from ragents.llm.types import ModelConfig

PARAMETERS = {
    name for create in (AsyncCompletions.create, AsyncResponses.create) for name in inspect.signature(create).parameters
}
"""Of a request, in the words of OpenAI's library, which takes no others."""


def create_openai_models(config: ModelConfig, *, at: str = "llm") -> list[BaseChatModel]:
    """A chat model per replica. A server of one's own usually wants no key; OpenAI's own endpoint does."""
    if config.provider == "vllm" and config.addresses == [None]:
        raise ConfigError(f"{at}.base_url is not set; name the vLLM server, such as http://vllm:8000/v1")
    if config.api_key is None and config.addresses == [None]:
        where = "RAGENTS_LLM__API_KEY" if at == "llm" else "it in RAGENTS_LLM__FALLBACKS"
        raise ConfigError(
            f"{at}.api_key is not set; set {where}, or {at}.base_url for a server of your own that needs none"
        )
    if config.model_name == "extractive":
        raise ConfigError(f"{at}.model_name is not set; name the model that the server at {at}.base_url serves")
    models = [_at(address, config) for address in config.addresses]
    _check(models[0].model_kwargs, at)
    return list[BaseChatModel](models)


def _check(passed_on: Mapping[str, object], at: str) -> None:
    """Of what LangChain passes on as it is. Every call would fail, as if the server had."""
    if unknown := sorted(passed_on.keys() - PARAMETERS):
        raise ConfigError(
            f"{at}.extra: {unknown[0]!r} is neither a setting of the chat model nor a parameter of OpenAI's; what the "
            f"server takes besides goes into {at}.extra.extra_body"
        )


def _at(address: str | None, config: ModelConfig) -> BaseChatOpenAI:
    # OpenAI's own endpoint has renamed max_tokens; TGI and Ollama know the old name alone, which the base class sends.
    kind = ChatOpenAI if address is None else BaseChatOpenAI
    return kind(
        model=config.model_name,
        base_url=address,
        api_key=config.api_key or SecretStr("none"),
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        timeout=httpx.Timeout(config.timeout_s, connect=config.connect_timeout_s),
        max_retries=0,  # LLMClient makes calls again: it knows whether a token has come
        stream_usage=True,
        **config.extra,
    )
