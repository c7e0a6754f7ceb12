"""Scores that users give to answers, as feedback scores on Opik's traces.

Nothing is kept here: Opik is asked which traces belong to the request, of the caller's own tenant, so that any replica
can take a score, and a foreign request reads the same as an unknown one.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from ragents.deployment.observability.config import ObservabilityConfig, OpikConfig
from ragents.deployment.observability.opik import SCORES, SEARCH, SOURCE, opik_headers
from ragents.errors import BackendUnavailable, NotFound, Overloaded
from ragents.principal import Principal

SCORE_NAME = "user_feedback"
LOOKS, PAUSE_S = 3, 1.0
"""An answer's trace is with Opik a second or two after the answer: its score may come sooner."""
MAX_TRACES = 100
"""Of one request: a batch has several questions."""
MAX_AT_ONCE = 32
RETRY_AFTER_S = 5.0


class OpikScores:
    """For one event loop."""

    def __init__(self, config: OpikConfig, http: httpx.AsyncClient, *, pause_s: float = PAUSE_S) -> None:
        self._project, self._http, self._pause_s = config.project, http, pause_s
        self._under_way = 0

    async def give(self, request_id: str, score: float, comment: str | None, *, principal: Principal) -> int:
        """To each answer of that request; how many they are.

        NotFound for a request of another tenant, of none, or that was not sampled; BackendUnavailable without Opik.
        """
        if self._under_way >= MAX_AT_ONCE:
            raise Overloaded(f"{MAX_AT_ONCE} scores are on their way; try again later", reason="feedback")
        self._under_way += 1
        try:
            traces = await self._find(request_id, principal.tenant)
            scores = [
                {
                    "id": trace,
                    "project_name": self._project,
                    "name": SCORE_NAME,
                    "value": score,
                    "source": SOURCE,
                    **({"reason": comment} if comment else {}),
                }
                for trace in traces
            ]
            await self._ask("PUT", SCORES, {"scores": scores})
        finally:
            self._under_way -= 1
        return len(traces)

    async def _find(self, request_id: str, tenant: str) -> list[str]:
        asked = {
            "project_name": self._project,
            "filters": [_equals("request_id", request_id), _equals("tenant", tenant)],
            "limit": MAX_TRACES,
            "truncate": True,
        }
        for look in range(LOOKS):
            if look:
                await asyncio.sleep(self._pause_s)
            found = _lines(await self._ask("POST", SEARCH, asked))
            # Said by Opik, and looked at again: a server that does not know the filter would give other tenants'.
            ids = [
                str(trace["id"])
                for trace in found
                if (told := trace.get("metadata") or {}).get("request_id") == request_id
                and told.get("tenant") == tenant
            ]
            if ids:
                return ids
        raise NotFound("traced answer to request", request_id, remedy="it may not have been sampled")

    async def _ask(self, method: str, path: str, body: dict[str, Any]) -> httpx.Response:
        try:
            response = await self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise BackendUnavailable("opik", type(error).__name__, retry_after_s=RETRY_AFTER_S) from error
        if path == SEARCH and response.status_code == httpx.codes.NOT_FOUND:
            return httpx.Response(httpx.codes.OK)  # so long as nothing was traced there is no project
        if not response.is_success:
            detail = f"it answered with status {response.status_code}"
            raise BackendUnavailable("opik", detail, retry_after_s=RETRY_AFTER_S)
        return response


@asynccontextmanager
async def open_scores(config: ObservabilityConfig) -> AsyncIterator[OpikScores | None]:
    """None where no Opik is configured."""
    opik = config.opik
    if opik.address is None:
        yield None
        return
    async with httpx.AsyncClient(
        base_url=opik.address, headers=opik_headers(opik), timeout=config.export_timeout_s
    ) as http:
        yield OpikScores(opik, http)


def _equals(key: str, value: str) -> dict[str, str]:
    return {"field": "metadata", "operator": "=", "key": key, "value": value, "type": "dictionary"}


def _lines(response: httpx.Response) -> list[dict[str, Any]]:
    """One JSON object per line."""
    try:
        found = [json.loads(line) for line in response.text.split("\n") if line.strip()]
    except ValueError as error:
        raise BackendUnavailable("opik", "its answer cannot be read", retry_after_s=RETRY_AFTER_S) from error
    return [each for each in found if isinstance(each, dict) and "id" in each]
