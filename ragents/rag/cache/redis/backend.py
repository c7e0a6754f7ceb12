"""RedisCache: entries, their accounts and locks on one Redis, which may be slow, full, evicting or gone."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError

from ragents.concurrency.batches import Batches
from ragents.errors import BackendUnavailable, ConfigError
from ragents.rag.cache.patience import current_patience
from ragents.rag.cache.redis.refusals import FAILURES, refusal_of, refuses
from ragents.rag.cache.types import CacheConfig, CacheUsage, Held

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
ENTRY_OVERHEAD_BYTES = 900
"""Of one entry in its four structures: used_memory of Redis 6.2 over 20,000 entries (keys of 118 bytes)."""
COUNTED_FIELDS = 100_000
"""Counters of layers and tenants beyond which those of tenants that hold nothing begin anew: some 10 MB."""
REMOVED_AT_ONCE = 500
CONNECTIONS = 64
GETS_AT_ONCE, GETS_TOGETHER = 2, 64
"""Calls of GET on their way, and the requests that one of them looks up for."""
GIVE_UP = 4
"""So many times `timeout_s` after which nobody waits for a call any more."""
LAG_S = 0.01
SILENCE_S = 0.3
REFUSAL_S = 10.0
"""So long a refusal is news; then the next entry may be taken again."""
CLEAR_TIMEOUT_S = 5.0
"""Of each step of `clear`, which waits longer than a question does."""


class Script:
    def __init__(self, *names: str) -> None:
        self.text = "\n".join((FOLDER / f"{name}.lua").read_text("utf-8") for name in names)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


GET, SET, REMOVE, REJECT = Script("get"), Script("drop", "set"), Script("drop", "remove"), Script("drop", "reject")
TAKE, GIVE, USAGE = Script("take"), Script("give"), Script("usage")


class RedisCache:
    """A CacheBackend. While Redis is away every look-up misses at once and nothing is kept; one probe looks for it.

    A call waits `timeout_s` at most, and those of one request together as well (`patient_for`). The budget of bytes
    holds by accounts of its own, whatever maxmemory says; entries that Redis itself evicts just miss.
    """

    def __init__(self, config: CacheConfig) -> None:
        try:
            pool = BlockingConnectionPool.from_url(
                config.redis_url.get_secret_value(),
                max_connections=CONNECTIONS,
                timeout=config.timeout_s,
                socket_connect_timeout=config.timeout_s,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError:  # whose text may hold a part of the password
            raise ConfigError("cache.redis_url is not a Redis URL, such as redis://:password@host:6379/0") from None
        self._client: Redis = Redis.from_pool(pool)
        self._timeout_s, self._retry_s = config.timeout_s, config.retry_s
        self._budget = int(config.max_cache_size_mb * 1024 * 1024)
        self._prefix = f"{config.namespace}:entry:"
        self._accounts = [f"{config.namespace}:{name}" for name in ("usage", "lru", "expiry", "sizes")]
        self._namespace = config.namespace
        self._gets: Batches[Sequence[str], list[Held | None]] = Batches(
            self._get_together, at_once=GETS_AT_ONCE, most=GETS_TOGETHER
        )
        self._away_since: float | None = None
        self._why = ""
        self._silent_since: float | None = None
        self._looking: asyncio.Task[None] | None = None
        self._refused_at: float | None = None
        self._refusal = ""

    async def get_many(self, keys: Sequence[str]) -> list[Held | None]:
        found = await self._guarded(self._gets.run(keys))
        return [None] * len(keys) if found is None else found

    async def _get_together(self, asked: Sequence[Sequence[str]]) -> list[list[Held | None]]:
        """The look-ups of several requests in one call; each of them waits no longer than its own patience."""
        entries = [self._prefix + key for keys in asked for key in keys]
        async with asyncio.timeout(self._timeout_s * GIVE_UP):
            now, *pairs = await self._eval(GET, [*self._accounts[:2], *entries], [len(self._prefix)])
        if len(pairs) != 2 * len(entries):
            raise ValueError("an answer for other keys than were asked for")
        held = iter([_held(value, left, now) for value, left in zip(pairs[::2], pairs[1::2], strict=True)])
        return [list(islice(held, len(keys))) for keys in asked]

    async def set(self, key: str, value: bytes, ttl_s: float) -> list[str]:
        entry = self._prefix + key
        ttl_ms = max(1, int(ttl_s * 1000))
        arguments: list[str | bytes | int] = [
            len(self._prefix),
            value,
            ttl_ms,
            self._budget,
            ENTRY_OVERHEAD_BYTES,
            COUNTED_FIELDS,
        ]
        dropped = await self._run(SET, [*self._accounts, entry], arguments)
        if not isinstance(dropped, list):
            return []
        self._refused_at = None
        return [name.decode()[len(self._prefix) :] for name in dropped if isinstance(name, bytes)]

    async def reject(self, key: str) -> None:
        await self._run(REJECT, [*self._accounts, self._prefix + key], [len(self._prefix)])

    async def clear(self, prefix: str = "") -> int:
        """Raises BackendUnavailable: what was to be erased may still be there."""
        removed, cursor = 0, 0
        try:
            while True:
                async with asyncio.timeout(CLEAR_TIMEOUT_S):
                    cursor, found = await self._client.scan(cursor, match=f"{self._prefix}{prefix}*", count=1_000)
                for start in range(0, len(found), REMOVED_AT_ONCE):
                    some = [name.decode() for name in found[start : start + REMOVED_AT_ONCE] if isinstance(name, bytes)]
                    async with asyncio.timeout(CLEAR_TIMEOUT_S):
                        removed += int(await self._eval(REMOVE, [*self._accounts, *some], [len(self._prefix)]))
                if not cursor:
                    return removed
        except FAILURES as error:
            raise BackendUnavailable("cache", f"Redis cannot be used ({type(error).__name__})") from error

    async def usage(self, group: str = "") -> CacheUsage | None:
        told = await self._run(USAGE, self._accounts[:1], [group])
        if not isinstance(told, list) or len(told) != 6 or not all(isinstance(value, int) for value in told):
            return None
        hits, misses, entries, size, evictions, age_ms = (max(-1, value) for value in told)
        age_s = age_ms / 1000 if age_ms >= 0 else None
        return CacheUsage(hits, misses, max(0, entries), max(0, size), evictions, age_s)

    async def take(self, name: str, owner: str, ttl_s: float) -> bool:
        """True as well while Redis is away: nobody is kept from computing."""
        held = await self._run(TAKE, [f"{self._namespace}:flight:{name}"], [owner, int(ttl_s * 1000)])
        return held is None or bool(held)

    async def give(self, name: str, owner: str) -> None:
        await self._run(GIVE, [f"{self._namespace}:flight:{name}"], [owner])

    @property
    def state(self) -> str | None:
        """What does not work; None when all does."""
        if self._away_since is not None:
            return f"Redis is away since {time.monotonic() - self._away_since:.0f} s ({self._why}): nothing is cached"
        if self._refused_at is not None and time.monotonic() - self._refused_at < REFUSAL_S:
            return f"{self._refusal}: nothing new is cached"
        return None

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
        await self._client.aclose()

    async def _run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Any:
        return await self._guarded(self._eval(script, keys, arguments))

    async def _eval(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Any:
        call: Any = self._client.execute_command  # untyped
        try:
            return await call("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return await call("EVAL", script.text, len(keys), *keys, *arguments)

    async def _guarded(self, call: Any) -> Any:
        """The answer; None when there is none in time."""
        patience = current_patience(self._timeout_s)
        wait_s = min(self._timeout_s, patience.left_s)
        if self._away_since is not None or wait_s <= 0:
            call.close()
            return None
        try:
            with patience.spending():
                answer = await _within(wait_s, call)
        except FAILURES as error:
            patience.late = patience.late or isinstance(error, TimeoutError)
            if refuses(error):
                self._note_refusal(error)
            elif not isinstance(error, TimeoutError) or self._silent_for_long():
                self._leave(error)
            return None
        self._silent_since = None
        return answer

    def _silent_for_long(self) -> bool:
        """One late answer is no outage; that none has come since a while is."""
        now = time.monotonic()
        self._silent_since = self._silent_since or now
        return now - self._silent_since > SILENCE_S

    def _note_refusal(self, error: Exception) -> None:
        self._refusal = refusal_of(error)
        if self._refused_at is None:
            log.warning("cache: %s, new entries are not kept", self._refusal)
        self._refused_at = time.monotonic()

    def _leave(self, error: Exception) -> None:
        if self._away_since is None:
            self._why = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
            log.warning("cache: Redis is away (%s); questions are answered without the cache", self._why)
            self._away_since = time.monotonic()
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._retry_s)
            try:
                async with asyncio.timeout(self._timeout_s):
                    # Those of before the outage are dead, and would look like another one.
                    await self._client.connection_pool.disconnect(inuse_connections=False)
                    call: Any = self._client.execute_command  # untyped
                    await call("EVAL", TAKE.text, 1, f"{self._namespace}:flight:probe", "probe", 1)
            except FAILURES as error:
                if not refuses(error):
                    continue
            self._away_since = self._silent_since = None
            log.info("cache: Redis is back")
            return


async def _within(seconds: float, call: Coroutine[Any, Any, Any]) -> Any:
    """The call's answer, or TimeoutError. When this process was too busy to look in time, it has as long again.

    Else a burst of questions would take its own lag for Redis's, and go without the cache just then.
    """
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(call)
    until = loop.time() + seconds
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done() and loop.time() - until > LAG_S:
            await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        if not task.done():
            task.cancel()


def _held(value: bytes | None, left_ms: int, now_ms: int) -> Held | None:
    if not value or len(value) < 8:
        return None
    age_ms = now_ms - int.from_bytes(value[:8], "big")
    return Held(value[8:], age_s=max(0, age_ms) / 1000, left_s=max(0, left_ms) / 1000)
