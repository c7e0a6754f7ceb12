"""Language models: LangChain's BaseChatModel is the port; `create_chat_model` picks the backend."""

from typing import TYPE_CHECKING

from ragents.errors import ConfigError
from ragents.llm.types import EmbedTexts, ModelConfig

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["EmbedTexts", "ModelConfig", "create_chat_model"]


def create_chat_model(config: ModelConfig, *, embed: EmbedTexts) -> "BaseChatModel":
    """The chat model that `config` names. `embed` serves the extractive one."""
    # Imported here: a process loads the libraries of the backend it uses, and reading the settings none.
    match config.provider:
        case "extractive":
            from ragents.llm.extractive import ExtractiveChatModel  # noqa: PLC0415

            return ExtractiveChatModel(embed=embed)
        case "openai":
            from ragents.llm.openai import create_openai_model  # noqa: PLC0415

            return create_openai_model(config)
        case other:
            raise ConfigError(
                f"llm.provider = {other!r}: expected 'extractive', or 'openai' for any OpenAI-compatible llm.base_url"
            )
