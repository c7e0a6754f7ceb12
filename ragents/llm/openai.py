"""Any OpenAI-compatible server: OpenAI, vLLM, TGI, Ollama, llama.cpp."""

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from ragents.errors import ConfigError
from ragents.llm.types import ModelConfig

MAX_RETRIES = 2


def create_openai_model(config: ModelConfig) -> BaseChatModel:
    """ChatOpenAI over `base_url`. A server of one's own usually wants no key; OpenAI's own endpoint does."""
    if config.api_key is None and config.base_url is None:
        raise ConfigError(
            "llm.api_key is not set; set RAGENTS_LLM__API_KEY, or llm.base_url for a server of your own that needs none"
        )
    if config.model_name == "extractive":
        raise ConfigError("llm.model_name is not set; name the model that the server at llm.base_url serves")
    return ChatOpenAI(
        model=config.model_name,
        base_url=config.base_url,
        api_key=config.api_key or SecretStr("none"),
        temperature=config.temperature,
        max_completion_tokens=config.max_tokens,
        timeout=config.timeout_s,
        max_retries=MAX_RETRIES,
        **config.extra,
    )
