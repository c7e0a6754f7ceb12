"""Running Lua on Redis: one round trip, bounded in time, with one kind of error."""

import asyncio
import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ClusterDownError, NoScriptError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from ragents.errors import BackendUnavailable

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
RETRIES = 3
Client = Redis | RedisCluster
Argument = str | bytes | int


class Script:
    """The text of NAME.lua; `on_thread` puts thread.lua in front of it."""

    def __init__(self, name: str, *, on_thread: bool = True) -> None:
        names = ["thread", name] if on_thread else [name]
        self.text = "\n".join((FOLDER / f"{each}.lua").read_text("utf-8") for each in names)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class Server:
    """Redis as a neighbour that may be down: BackendUnavailable after `timeout_s` at the latest.

    `again=True` repeats a call whose connection broke: only for what may be done twice. At most `at_once` calls run at
    a time and the others wait their turn, within the same time: a cluster's client would refuse them. One per client.
    """

    def __init__(self, client: Client, *, timeout_s: float, at_once: int) -> None:
        self.client = client
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(at_once)
        self._retry: Retry = Retry(
            ExponentialWithJitterBackoff(base=0.02, cap=0.5),
            RETRIES,
            supported_errors=(RedisConnectionError, ClusterDownError),
        )

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument], *, again: bool) -> Any:
        try:
            return await self.command("EVALSHA", script.sha, len(keys), *keys, *arguments, again=again)
        except NoScriptError:  # a server that has restarted, or a node that has not seen it; EVAL keeps it there
            return await self.command("EVAL", script.text, len(keys), *keys, *arguments, again=again)

    async def command(self, *parts: Argument, again: bool, **options: Any) -> Any:
        """`options` are the client's: target_nodes in a cluster."""
        try:
            async with asyncio.timeout(self._timeout_s), self._turns:
                return await self._execute(parts, again, options)
        except NoScriptError:
            raise
        except TimeoutError as error:
            raise BackendUnavailable("checkpointer", f"no answer from Redis within {self._timeout_s:g} s") from error
        except (RedisError, OSError) as error:
            log.warning("checkpointer: %s: %s", type(error).__name__, error)
            raise BackendUnavailable("checkpointer", _reason(error)) from error

    async def _execute(self, parts: Sequence[Argument], again: bool, options: Mapping[str, Any]) -> Any:
        try:
            return await self.client.execute_command(*parts, **options)
        except (RedisConnectionError, ClusterDownError):
            if not again:
                raise
        return await self._retry.call_with_retry(lambda: self.client.execute_command(*parts, **options), _nothing)


async def _nothing(error: BaseException) -> None:
    """A broken connection was already thrown away by the client."""


def _reason(error: Exception) -> str:
    """Without an address or a password, which Redis's own messages may hold."""
    if "OOM" in str(error):
        return "Redis has no memory left; raise maxmemory, or shorten checkpoint.ttl_seconds"
    return f"Redis cannot be used ({type(error).__name__})"
