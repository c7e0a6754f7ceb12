"""What the two kinds of servers are asked, and where their answers have the vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ragents.embeddings.counting import find_prompts
from ragents.embeddings.http_transport import Refused, Requests
from ragents.embeddings.model_folder import Kind
from ragents.embeddings.types import EmbeddingConfig
from ragents.errors import EncoderUnavailable

OPENAI_MAX_TOKENS = {"text-embedding-3-small": 8192, "text-embedding-3-large": 8192, "text-embedding-ada-002": 8192}
"""Limits that the API does not tell (OpenAI's embeddings guide)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Tokens of a text and texts of a request; None where the server does not say."""

    tokens: int | None = None
    texts: int | None = None


class Dialect(Protocol):
    """Refused for 4xx; EncoderUnavailable or Overloaded for a server that is down, late or busy."""

    async def ask_limits(self, requests: Requests) -> Limits: ...

    async def ask_health(self, requests: Requests) -> None: ...

    async def embed(self, requests: Requests, texts: Sequence[str], kind: Kind) -> Any:
        """One row of numbers per text, in their order; unchecked."""
        ...


class OpenAI:
    """POST /embeddings, GET /models, below a base_url that ends in /v1."""

    def __init__(self, model: str, prompts: dict[Kind, str]) -> None:
        self._model, self._prompts = model, prompts

    async def ask_limits(self, requests: Requests) -> Limits:
        """vLLM says max_model_len. A server without /models is none the worse for it."""
        try:
            answer = await requests.get("/models")
        except Refused as error:
            if error.status in (401, 403):
                raise
            return Limits(OPENAI_MAX_TOKENS.get(self._model))
        models = answer.get("data") if isinstance(answer, dict) else None
        for each in models or []:
            if isinstance(each, dict) and each.get("id") == self._model and isinstance(each.get("max_model_len"), int):
                return Limits(each["max_model_len"])
        return Limits(OPENAI_MAX_TOKENS.get(self._model))

    async def ask_health(self, requests: Requests) -> None:
        try:
            await requests.get("/models")
        except Refused as error:
            if error.status in (401, 403):
                raise

    async def embed(self, requests: Requests, texts: Sequence[str], kind: Kind) -> Any:
        prompt = self._prompts[kind]
        body = {"model": self._model, "input": [prompt + text for text in texts], "encoding_format": "float"}
        answer = await requests.post("/embeddings", body, kind)
        try:
            return [each["embedding"] for each in sorted(answer["data"], key=lambda each: int(each["index"]))]
        except (LookupError, TypeError, ValueError) as error:
            raise EncoderUnavailable("its answer is not one vector per text") from error


class Tei:
    """POST /embed, GET /info and /health. Texts are never cut by the server: `truncate` is off."""

    def __init__(self, prompts: dict[Kind, str]) -> None:
        self._prompts = prompts

    async def ask_limits(self, requests: Requests) -> Limits:
        answer = await requests.get("/info")
        if not isinstance(answer, dict):
            return Limits()
        tokens, texts = answer.get("max_input_length"), answer.get("max_client_batch_size")
        return Limits(tokens if isinstance(tokens, int) else None, texts if isinstance(texts, int) else None)

    async def ask_health(self, requests: Requests) -> None:
        await requests.get("/health")

    async def embed(self, requests: Requests, texts: Sequence[str], kind: Kind) -> Any:
        prompt = self._prompts[kind]
        body = {"inputs": [prompt + text for text in texts], "normalize": True, "truncate": False}
        return await requests.post("/embed", body, kind)


def create_dialect(config: EmbeddingConfig, *, model: str) -> Dialect:
    prompts = find_prompts(config, model=model)
    return Tei(prompts) if config.backend == "tei" else OpenAI(model, prompts)
