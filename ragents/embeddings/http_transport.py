"""Requests to an embedding server: bounded, timed, and repeated where that is safe."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import httpx

from ragents import tracing
from ragents.embeddings.model_folder import Kind
from ragents.embeddings.types import EmbeddingConfig
from ragents.errors import EncoderUnavailable, Overloaded

CONNECT_TIMEOUT_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
BUSY = frozenset({429, 502, 503, 504})
"""Answers after which the same request may succeed."""
SHOWN = 200
"""Characters of a refusal that are repeated: servers say there what they do not like."""


class Refused(Exception):
    """The server will not take this request, now or later (4xx)."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"the server answered with status {status}: {said}" if said else f"status {status}")
        self.status = status


class Requests:
    """Open with `async with`. Questions and documents have `concurrency` places each.

    An embedding can be asked for again without harm, so what found no connection, lost it, or met a busy server is
    repeated, `retries` times, while its time lasts. What took too long is not: the server may still be at it.
    """

    def __init__(self, config: EmbeddingConfig) -> None:
        self._config = config
        self._places: dict[Kind, asyncio.Semaphore] = {
            "query": asyncio.Semaphore(config.concurrency),
            "document": asyncio.Semaphore(config.concurrency),
        }
        self._waiting: dict[Kind, int] = {"query": 0, "document": 0}
        headers = {"Authorization": f"Bearer {config.api_key.get_secret_value()}"} if config.api_key else {}
        self._http = httpx.AsyncClient(
            base_url=(config.base_url or "").rstrip("/"),
            headers=headers,
            timeout=httpx.Timeout(config.timeout_s, connect=min(config.timeout_s, CONNECT_TIMEOUT_S)),
            limits=httpx.Limits(max_connections=2 * config.concurrency + 1),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def get(self, path: str) -> Any:
        """Parsed JSON; None for an answer that is none."""
        async with self._in_time():
            return _parsed(await self._send("GET", path), needed=False)

    async def post(self, path: str, body: dict[str, Any], kind: Kind) -> Any:
        """Parsed JSON. Overloaded when too many wait or the server stays busy; EncoderUnavailable; Refused."""
        async with self._place(kind), self._in_time():
            response = await self._send("POST", path, json=body)
            # Many vectors as text take milliseconds to read.
            return _parsed(response) if kind == "query" else await asyncio.to_thread(_parsed, response)

    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        pause_s = FIRST_PAUSE_S
        for left in range(self._config.retries, -1, -1):
            try:
                response = await self._http.request(method, path, headers=tracing.headers() or None, **options)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.RemoteProtocolError, httpx.ReadError) as error:
                if not left:
                    raise EncoderUnavailable(f"the server cannot be reached ({type(error).__name__})") from error
                after_s = 0.0
            except httpx.TimeoutException as error:
                raise self._late() from error
            except httpx.HTTPError as error:
                raise EncoderUnavailable(f"the request failed ({type(error).__name__})") from error
            else:
                if response.status_code not in BUSY or not left:
                    return _checked(response)
                after_s = _retry_after_s(response)
            await asyncio.sleep(max(after_s, pause_s * random.uniform(0.5, 1)))  # noqa: S311  # jitter, no secret
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        raise AssertionError("the last attempt returns or raises")

    @asynccontextmanager
    async def _place(self, kind: Kind) -> AsyncIterator[None]:
        if self._places[kind].locked() and self._waiting[kind] >= self._config.max_queue:
            raise Overloaded(f"{self._waiting[kind]} calls wait for the encoder; try again later", retry_after_s=1.0)
        self._waiting[kind] += 1
        try:
            async with asyncio.timeout(self._config.queue_timeout_s) as limit:
                await self._places[kind].acquire()
        except TimeoutError:
            if not limit.expired():
                raise
            waited = f"{self._config.queue_timeout_s:g} s"
            raise Overloaded(f"the encoder did not come to it within {waited}; try again later") from None
        finally:
            self._waiting[kind] -= 1
        try:
            yield
        finally:
            self._places[kind].release()

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """The request with its repetitions."""
        try:
            async with asyncio.timeout(self._config.timeout_s) as limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self._late() from error

    def _late(self) -> EncoderUnavailable:
        return EncoderUnavailable(f"the server did not answer within {self._config.timeout_s:g} s")


def _checked(response: httpx.Response) -> httpx.Response:
    status = response.status_code
    if status == httpx.codes.TOO_MANY_REQUESTS:
        raise Overloaded("the encoder's server has too many requests", retry_after_s=max(1.0, _retry_after_s(response)))
    if status >= 500:
        raise EncoderUnavailable(f"the server answered with status {status}")
    if status >= 300:
        raise Refused(status, " ".join(response.text.split())[:SHOWN])
    return response


def _parsed(response: httpx.Response, *, needed: bool = True) -> Any:
    try:
        return response.json()
    except ValueError as error:
        if needed:
            raise EncoderUnavailable("its answer is not JSON") from error
        return None


def _retry_after_s(response: httpx.Response) -> float:
    """Seconds; 0 where nothing is said, or a date, which servers of this kind do not send."""
    try:
        return max(0.0, float(response.headers.get("retry-after", 0)))
    except ValueError:
        return 0.0
