"""Settings of the language model, what a call costs, and what the extractive model is handed."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SecretStr, model_validator

from ragents.config.base import Config

Vectors = NDArray[np.float32]
EmbedTexts = Callable[[Sequence[str]], Awaitable[Vectors]]
"""(n texts) -> (n, dimension), rows of length 1."""
Ending = Literal["stop", "length", "content_filter"]
"""Of an answer. stop: it is whole. length: it reached max_tokens or the window. content_filter: the provider stopped
it."""


class Price(Config):
    """US dollars for a million tokens."""

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a call, or of all calls of an answer. `cost_usd` is None where no price is known.

    `estimated`: a model did not count, and what it took is estimated, rather too high than too low.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    estimated: bool = False

    def __add__(self, other: "Usage") -> "Usage":
        costs = [each.cost_usd for each in (self, other) if each.cost_usd is not None]
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            sum(costs) if costs else None,
            self.estimated or other.estimated,
        )


class ModelConfig(Config):
    """`provider` "extractive" is embedded and needs nothing; "openai" is any OpenAI-compatible server, "vllm" such a
    server that takes vLLM's own fields too; any other is a provider of LangChain's by its name.

    A call is tried again, at another replica where there is one, after 429, 5xx and lost connections, and never once a
    token has come. An endpoint that fails `breaker_failures` times in a row is left alone for `breaker_reset_s`.
    """

    provider: str = "extractive"
    model_name: str = "extractive"
    temperature: float = Field(default=0.7, ge=0, le=2)
    max_tokens: int = Field(default=2000, ge=1)
    base_url: str | None = None
    base_urls: list[str] = Field(default_factory=list, description="replicas; the one with the fewest calls is asked")
    api_key: SecretStr | None = None
    connect_timeout_s: float = Field(default=5.0, gt=0)
    first_token_timeout_s: float = Field(default=30.0, gt=0, description="of an answer that is streamed")
    timeout_s: float = Field(default=60.0, gt=0, description="of one call, from the first byte sent to the last token")
    max_retries: int = Field(default=2, ge=0, le=10)
    breaker_failures: int = Field(default=5, ge=1)
    breaker_reset_s: float = Field(default=30.0, gt=0)
    context_tokens: int = Field(default=8192, ge=512, description="the model's window: prompt and answer together")
    price: Price | None = Field(default=None, description="for usage.cost_usd and rag_cost_usd_total")
    structured_output: bool | None = Field(
        default=None, description="ask for JSON by a schema; None: of vLLM, which holds every answer to it"
    )
    cache_salt_key: SecretStr | None = Field(
        default=None, description="makes the salts of vLLM's prefix cache, one per tenant; None: a new one per process"
    )
    fallbacks: list["ModelConfig"] = Field(default_factory=list)
    extra: dict[str, Any] = Field(default_factory=dict, description="passed to the provider's chat model as it is")

    @property
    def fingerprint(self) -> str:
        """Equal for settings that answer alike: what is cached of one must not pass for another's."""
        told = self.model_dump(
            mode="json",
            include={
                "provider",
                "model_name",
                "temperature",
                "max_tokens",
                "base_url",
                "base_urls",
                "context_tokens",
                "structured_output",
                "extra",
            },
        )
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def in_order(self) -> list[tuple[str, "ModelConfig"]]:
        """This model and its fallbacks, each with the name of its settings: "llm", "llm.fallbacks.0"."""
        return [("llm", self), *((f"llm.fallbacks.{n}", each) for n, each in enumerate(self.fallbacks))]

    @property
    def addresses(self) -> list[str | None]:
        """One per replica; [None]: the provider's own."""
        return [*self.base_urls] or [self.base_url]

    @model_validator(mode="after")
    def _one_way_to_say_where(self) -> Self:
        if self.base_url is not None and self.base_urls:
            raise ValueError("base_url and base_urls are both set; name one server in base_url, or all in base_urls")
        for address in self.addresses:
            if address is not None and not address.startswith(("http://", "https://")):
                raise ValueError(f"{address!r} is no address of a server; expected http://HOST:PORT/v1 or https://...")
        if self.max_tokens >= self.context_tokens:
            raise ValueError(
                f"max_tokens ({self.max_tokens}) must be smaller than context_tokens ({self.context_tokens}), which "
                "holds the prompt as well"
            )
        return self
