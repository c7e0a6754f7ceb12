"""Language models: LangChain's BaseChatModel is the port; `create_chat_model` picks the backend."""

from langchain_core.language_models import BaseChatModel

from ragents.errors import ConfigError
from ragents.llm.client import LLMClient
from ragents.llm.extractive import EmbedTexts, ExtractiveChatModel
from ragents.llm.types import ModelConfig

__all__ = ["EmbedTexts", "ExtractiveChatModel", "LLMClient", "ModelConfig", "create_chat_model"]


def create_chat_model(config: ModelConfig, *, embed: EmbedTexts) -> BaseChatModel:
    """The chat model that `config` names. `embed` serves the extractive one."""
    match config.provider:
        case "extractive":
            return ExtractiveChatModel(embed=embed)
        case "openai":
            from ragents.llm.openai import create_openai_model  # noqa: PLC0415  # half a second that extractive spares

            return create_openai_model(config)
        case other:
            raise ConfigError(
                f"llm.provider = {other!r}: expected 'extractive', or 'openai' for any OpenAI-compatible llm.base_url"
            )
