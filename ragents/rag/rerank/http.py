"""Rerankers over HTTP: Text Embeddings Inference, and what speaks as Cohere does (Jina, vLLM, LiteLLM)."""

from collections.abc import Sequence
from typing import Any

import httpx

from ragents import tracing
from ragents.errors import RerankerUnavailable
from ragents.rag.rerank.types import RerankConfig

MAX_CONNECTIONS = 50


class HttpReranker:
    """One request per question."""

    def __init__(self, config: RerankConfig) -> None:
        self._tei = config.provider == "tei"
        self._model = config.model
        self._base_url = (config.base_url or "").rstrip("/")
        headers = {"Authorization": f"Bearer {config.api_key.get_secret_value()}"} if config.api_key else {}
        limits = httpx.Limits(max_connections=MAX_CONNECTIONS)
        self._http = httpx.AsyncClient(headers=headers, timeout=config.timeout_s, limits=limits)

    @property
    def model(self) -> str:
        return self._model or self._base_url

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        if self._tei:
            path, body = "/rerank", {"query": query, "texts": list(texts), "truncate": True}
        else:
            path, body = "/v2/rerank", {"model": self._model, "query": query, "documents": list(texts)}
        try:
            response = await self._http.post(self._base_url + path, json=body, headers=tracing.headers() or None)
            response.raise_for_status()
            return _scores(response.json(), len(texts))
        except httpx.HTTPStatusError as error:
            raise RerankerUnavailable(f"it answered with status {error.response.status_code}") from error
        except httpx.HTTPError as error:
            raise RerankerUnavailable(f"it cannot be reached ({type(error).__name__})") from error
        except (ValueError, TypeError, LookupError) as error:
            raise RerankerUnavailable("it answered with something else than a score per text") from error

    async def close(self) -> None:
        await self._http.aclose()


def _scores(answer: Any, count: int) -> list[float]:
    """[{"index", "score"}] of TEI, {"results": [{"index", "relevance_score"}]} of the others; best first in both."""
    found = answer if isinstance(answer, list) else answer["results"]
    scores: dict[int, float] = {}
    for each in found:
        score = each["score"] if "score" in each else each["relevance_score"]
        scores[int(each["index"])] = min(1.0, max(0.0, float(score)))
    return [scores[n] for n in range(count)]
