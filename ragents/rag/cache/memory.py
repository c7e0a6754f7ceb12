"""The in-process cache: least recently used out first, within a budget of bytes."""

import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragents.rag.cache.types import CacheUsage, Held

ENTRY_OVERHEAD_BYTES = 300
"""Key, record and dict slot of one entry, measured with tracemalloc on CPython 3.11 (64-byte keys)."""
COUNTED_GROUPS = 50_000
"""Layers of tenants whose look-ups are counted, beside those that hold entries, which the budget bounds."""


@dataclass(slots=True)
class _Entry:
    value: bytes
    stored_at: float
    expires_at: float

    @property
    def size(self) -> int:
        return len(self.value) + ENTRY_OVERHEAD_BYTES


class MemoryCache:
    """A CacheBackend for one event loop."""

    def __init__(self, max_bytes: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._usage: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._most_groups = COUNTED_GROUPS
        self._born: defaultdict[str, float] = defaultdict(float)  # sum of the entries' times, by group
        self._holders: dict[str, tuple[str, float]] = {}
        self._bytes = 0

    async def get_many(self, keys: Sequence[str]) -> list[Held | None]:
        return [self._get(key) for key in keys]

    async def set(self, key: str, value: bytes, ttl_s: float) -> list[str]:
        self._remove(key)
        now = self._clock()
        entry = _Entry(value, now, now + ttl_s)
        if ttl_s <= 0 or entry.size > self._max_bytes:
            return []
        self._entries[key] = entry
        self._account(key, entry, +1)
        dropped = []
        while self._bytes > self._max_bytes:
            oldest = next(iter(self._entries))
            self._count(oldest, "evictions")
            self._remove(oldest)
            dropped.append(oldest)
        return dropped

    async def reject(self, key: str) -> None:
        self._count(key, "hits", -1)
        self._count(key, "misses")
        self._remove(key)

    async def clear(self, prefix: str = "") -> int:
        doomed = [key for key in self._entries if key.startswith(prefix)]
        for key in doomed:
            self._remove(key)
        return len(doomed)

    async def usage(self, group: str = "") -> CacheUsage:
        if group not in self._usage:
            return CacheUsage()
        count = self._usage[group]
        age_s = max(0.0, self._clock() - self._born[group] / count["entries"]) if count["entries"] else None
        return CacheUsage(**count, age_s=age_s)

    async def take(self, name: str, owner: str, ttl_s: float) -> bool:
        now = self._clock()
        holder, until = self._holders.get(name, (owner, now))
        if holder != owner and until > now:
            return False
        self._holders = {each: held for each, held in self._holders.items() if held[1] > now}
        self._holders[name] = (owner, now + ttl_s)
        return True

    async def give(self, name: str, owner: str) -> None:
        if self._holders.get(name, ("", 0.0))[0] == owner:
            del self._holders[name]

    @property
    def state(self) -> str | None:
        return None

    async def close(self) -> None:
        await self.clear()

    def _get(self, key: str) -> Held | None:
        entry, now = self._entries.get(key), self._clock()
        if entry is not None and entry.expires_at <= now:
            self._remove(key)
            entry = None
        self._count(key, "misses" if entry is None else "hits")
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return Held(entry.value, age_s=now - entry.stored_at, left_s=entry.expires_at - now)

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._account(key, entry, -1)

    def _account(self, key: str, entry: _Entry, sign: int) -> None:
        self._count(key, "entries", sign)
        self._count(key, "bytes", sign * entry.size)
        self._bytes += sign * entry.size
        for each in _groups(key):
            self._born[each] = self._born[each] + sign * entry.stored_at if self._usage[each]["entries"] else 0.0

    def _count(self, key: str, what: str, by: int = 1) -> None:
        for each in _groups(key):
            self._usage[each][what] += by
        if len(self._usage) > self._most_groups:
            self._forget()

    def _forget(self) -> None:
        """What was looked up by owners of whom nothing is held; the layers' sums stay. Seldom: each looks at all."""
        for group in [group for group, count in self._usage.items() if ":" in group and not count["entries"]]:
            del self._usage[group]
            self._born.pop(group, None)
        self._most_groups = max(COUNTED_GROUPS, 2 * len(self._usage))


def _groups(key: str) -> tuple[str, str]:
    """Layer and owner, and the layer."""
    group = key.rpartition(":")[0]
    return group, group.partition(":")[0]
