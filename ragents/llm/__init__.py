"""Language models: LangChain's BaseChatModel is the port; `create_chat_models` picks the backend."""

from typing import TYPE_CHECKING

from ragents.errors import ConfigError
from ragents.llm.types import EmbedTexts, ModelConfig

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from ragents.llm.endpoints import NamedModel

__all__ = ["EmbedTexts", "ModelConfig", "create_chat_models", "create_named_model"]


def create_chat_models(
    config: ModelConfig, *, embed: EmbedTexts | None = None, at: str = "llm"
) -> "list[BaseChatModel]":
    """The chat model that `config` names, once for each replica. `embed` serves the extractive one.

    `at`: where these settings stand, for the ConfigError of what cannot be used.
    """
    # Imported here: a process loads the libraries of the backend it uses, and reading the settings none.
    match config.provider:
        case "extractive":
            from ragents.llm.extractive import ExtractiveChatModel  # noqa: PLC0415

            if embed is None:
                raise ConfigError(
                    f"{at}.provider = 'extractive' needs an encoder; pass embed=, or name another provider"
                )
            return [ExtractiveChatModel(embed=embed)]
        case "openai" | "vllm":
            from ragents.llm.openai import create_openai_models  # noqa: PLC0415

            return create_openai_models(config, at=at)
        case _:
            from ragents.llm.providers import create_provider_models  # noqa: PLC0415

            return create_provider_models(config, at=at)


def create_named_model(config: ModelConfig, *, embed: EmbedTexts | None = None, at: str = "llm") -> "NamedModel":
    """What LLMClient asks, with the times, the retries and the window of `config`, which stand at `at`."""
    from ragents.llm.asked import create_salt  # noqa: PLC0415
    from ragents.llm.endpoints import NamedModel  # noqa: PLC0415

    model, *others = create_chat_models(config, embed=embed, at=at)
    extractive, vllm = config.provider == "extractive", config.provider == "vllm"
    key = config.cache_salt_key.get_secret_value() if config.cache_salt_key else None
    return NamedModel(
        config.model_name,
        model,
        config.timeout_s,
        first_token_timeout_s=config.first_token_timeout_s,
        max_retries=config.max_retries,
        price=config.price,
        context_tokens=None if extractive else config.context_tokens,
        answer_tokens=config.max_tokens,
        structured=vllm if config.structured_output is None else config.structured_output,
        salt=create_salt(key) if vllm else None,
        body=config.extra.get("extra_body", {}),
        provider=config.provider,
        takes_headers=config.provider in ("openai", "vllm")
        and "extra_headers" not in config.extra.get("model_kwargs", {}),
        tells_its_end=config.provider in ("openai", "vllm"),
        fingerprint=config.fingerprint,
        others=others,
        breaker_failures=config.breaker_failures,
        breaker_reset_s=config.breaker_reset_s,
    )
