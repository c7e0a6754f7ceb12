"""A model that runs in another process of this server, which its workers share (ragents/deployment/encoder_service.py).

Texts are counted here, by the same tokenizer, so that a text that is too long never leaves the process.
"""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
from opentelemetry.trace import SpanKind

from ragents import tracing
from ragents.embeddings.batching import Observer
from ragents.embeddings.local import LocalEmbedder, Tokenized
from ragents.embeddings.model_folder import Kind, read_model_folder
from ragents.embeddings.packing import unpack
from ragents.embeddings.tokenizing import FolderTokenizer
from ragents.embeddings.types import EmbeddingConfig, EncoderService, Vectors
from ragents.embeddings.weights import find_model
from ragents.errors import EncoderUnavailable, Overloaded

PATHS: dict[Kind, str] = {"query": "/embed_queries", "document": "/embed_documents"}
READY_PATH = "/readyz"
REQUEST_TOKENS = 2_000
"""Tokens of a request: some 0.3 s on two cores, beside which the hop of 5 to 10 ms is little (2026-11-21)."""
CONNECT_TIMEOUT_S, READY_TIMEOUT_S, RETRY_AFTER_S = 2.0, 1.5, 2.0
LIMITS = httpx.Limits(keepalive_expiry=2.0)
"""Idle connections are closed well before the other process would (uvicorn: 5 s), lest a request meet that end."""


class RemoteEncoder:
    """An Encoder whose `encode` is a request. Made by `load`.

    Nothing is tried twice: a text that ends the other process would end it again.
    """

    batch_tokens = REQUEST_TOKENS

    def __init__(
        self, tokenizer: FolderTokenizer, max_tokens: int, http: httpx.Client, *, start_timeout_s: float
    ) -> None:
        self._tokenizer, self._http, self.max_tokens = tokenizer, http, max_tokens
        self.dimension = int(self._embed(["warm up"], "query", timeout_s=start_timeout_s).shape[1])

    @classmethod
    def load(cls, service: EncoderService, *, model: str) -> "RemoteEncoder":
        """Waits until the other process has loaded the model. EncoderUnavailable when that takes too long."""
        folder = read_model_folder(find_model(model))
        tokenizer = FolderTokenizer(folder.path, folder.prompts)
        http = open_http(service.url, timeout_s=service.timeout_s)
        try:
            return cls(tokenizer, folder.max_tokens, http, start_timeout_s=service.start_timeout_s)
        except BaseException:
            http.close()
            raise

    def tokenize(self, texts: Sequence[str], kind: Kind) -> list[Tokenized]:
        return self._tokenizer.tokenize(texts, kind)

    def encode(self, batch: Sequence[Tokenized], kind: Kind) -> Vectors:
        """EncoderUnavailable when the process is gone, fails or is late; Overloaded when it refuses more."""
        return self._embed([each.text for each in batch], kind)

    def check(self) -> None:
        """EncoderUnavailable when the process is not ready."""
        self._ask("GET", READY_PATH, timeout=READY_TIMEOUT_S)

    def close(self) -> None:
        self._http.close()

    def _embed(self, texts: list[str], kind: Kind, *, timeout_s: float | None = None) -> Vectors:
        timeout = httpx.USE_CLIENT_DEFAULT if timeout_s is None else httpx.Timeout(timeout_s)
        with tracing.span("encode", {"ragents.texts": len(texts)}, kind=SpanKind.CLIENT):
            answer = self._ask(
                "POST", PATHS[kind], json={"texts": texts}, timeout=timeout, headers=tracing.headers() or None
            )
        try:
            return unpack(answer.json(), len(texts))
        except (ValueError, TypeError) as error:
            raise EncoderUnavailable(f"its answer is not one vector per text: {error}") from error

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.TimeoutException as error:
            raise EncoderUnavailable("its process did not answer in time", retry_after_s=RETRY_AFTER_S) from error
        except httpx.HTTPError as error:
            detail = f"the connection to its process broke ({type(error).__name__})"
            raise EncoderUnavailable(detail, retry_after_s=RETRY_AFTER_S) from error
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise Overloaded("the encoder has too many requests; try again later", retry_after_s=RETRY_AFTER_S)
        if response.status_code != httpx.codes.OK:
            detail = f"its process answered with status {response.status_code}"
            raise EncoderUnavailable(detail, retry_after_s=RETRY_AFTER_S)
        return response


class RemoteEmbedder(LocalEmbedder):
    """What a worker asks while its last request runs goes into the next one; the service joins those of all workers."""

    def __init__(
        self, model: str, service: EncoderService, *, config: EmbeddingConfig, observe: Observer | None = None
    ) -> None:
        super().__init__(config.name_of(model), self._connect, config=config, observe=observe)
        self._service, self._folder = service, model
        self._remote: RemoteEncoder | None = None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        if self._remote is not None:
            self._remote.close()

    async def check(self) -> None:
        """EncoderUnavailable when the process that has the model is not ready."""
        if self._remote is None:
            raise EncoderUnavailable("it is not open")
        await asyncio.to_thread(self._remote.check)

    def _connect(self) -> RemoteEncoder:
        self._remote = RemoteEncoder.load(self._service, model=self._folder)
        return self._remote


def open_http(url: str, *, timeout_s: float) -> httpx.Client:
    """`url` as BentoML writes it: file:///path/of.sock or tcp://host:port."""
    parts = urlsplit(url)
    timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))
    if parts.scheme == "file":
        transport = httpx.HTTPTransport(uds=unquote(parts.path), limits=LIMITS)
        return httpx.Client(transport=transport, base_url="http://encoder", timeout=timeout)
    return httpx.Client(base_url=f"http://{parts.netloc}", timeout=timeout, limits=LIMITS, trust_env=False)
