"""Any other provider of LangChain's, by its name: `anthropic`, `google_genai`, `ollama`, `mistralai`, ..."""

from langchain_core.language_models import BaseChatModel

from ragents.errors import ConfigError
from ragents.llm.types import ModelConfig

BUILT_IN = "'extractive', 'vllm', and 'openai' for any OpenAI-compatible llm.base_url"


def create_provider_models(config: ModelConfig, *, at: str = "llm") -> list[BaseChatModel]:
    """A chat model per replica. ConfigError for a provider that is unknown or not installed."""
    try:
        from langchain.chat_models import init_chat_model  # noqa: PLC0415  # of the extra
    except ImportError:
        raise ConfigError(
            f"{at}.provider = {config.provider!r} needs the package langchain: pip install 'ragents[providers]'; built "
            f"in are {BUILT_IN}"
        ) from None
    if config.model_name == "extractive":
        raise ConfigError(f"{at}.model_name is not set; name a model of {config.provider}")
    common: dict[str, object] = {"temperature": config.temperature, "max_tokens": config.max_tokens, "max_retries": 0}
    if config.api_key is not None:
        common["api_key"] = config.api_key.get_secret_value()
    models = []
    for address in config.addresses:
        where = {} if address is None else {"base_url": address}
        try:
            model = init_chat_model(
                config.model_name, model_provider=config.provider, **{**common, **where, **config.extra}
            )
        except ImportError as error:
            raise ConfigError(f"{at}.provider = {config.provider!r}: {error}") from None
        except (ValueError, TypeError) as error:  # an unknown provider, or settings that it does not take
            reason = str(error).splitlines()[0].rstrip(".")
            raise ConfigError(f"{at}.provider = {config.provider!r}: {reason}; built in are {BUILT_IN}") from None
        models.append(model)
    return models
