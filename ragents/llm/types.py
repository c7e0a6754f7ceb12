"""Settings of the language model."""

from typing import Any

from pydantic import Field, SecretStr

from ragents.config.base import Config


class ModelConfig(Config):
    """`provider` "extractive" is embedded and needs nothing; "openai" is any OpenAI-compatible `base_url`."""

    provider: str = "extractive"
    model_name: str = "extractive"
    temperature: float = Field(default=0.7, ge=0, le=2)
    max_tokens: int = Field(default=2000, ge=1)
    base_url: str | None = None
    api_key: SecretStr | None = None
    timeout_s: float = Field(default=60.0, gt=0)
    fallbacks: list["ModelConfig"] = Field(default_factory=list)
    extra: dict[str, Any] = Field(default_factory=dict, description="passed to the provider's chat model as it is")
