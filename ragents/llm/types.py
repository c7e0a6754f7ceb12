"""Settings of the language model, and what the extractive one is handed."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SecretStr

from ragents.config.base import Config

Vectors = NDArray[np.float32]
EmbedTexts = Callable[[Sequence[str]], Awaitable[Vectors]]
"""(n texts) -> (n, dimension), rows of length 1."""


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
