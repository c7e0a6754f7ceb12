"""Any OpenAI-compatible server: OpenAI, vLLM, TGI, Ollama, llama.cpp."""

import httpx
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models.base import BaseChatOpenAI
from pydantic import SecretStr

from ragents.errors import ConfigError
from ragents.llm.types import ModelConfig


def create_openai_models(config: ModelConfig) -> list[BaseChatModel]:
    """A chat model per replica. A server of one's own usually wants no key; OpenAI's own endpoint does."""
    if config.provider == "vllm" and config.addresses == [None]:
        raise ConfigError("llm.base_url is not set; name the vLLM server, such as http://vllm:8000/v1")
    if config.api_key is None and config.addresses == [None]:
        raise ConfigError(
            "llm.api_key is not set; set RAGENTS_LLM__API_KEY, or llm.base_url for a server of your own that needs none"
        )
    if config.model_name == "extractive":
        raise ConfigError("llm.model_name is not set; name the model that the server at llm.base_url serves")
    return [_at(address, config) for address in config.addresses]


def _at(address: str | None, config: ModelConfig) -> BaseChatModel:
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
