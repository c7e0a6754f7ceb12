"""The in-process cache: least recently used out first, within a budget of bytes."""

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from ragents.rag.cache.types import CacheUsage

ENTRY_OVERHEAD_BYTES = 300
"""Key, record and dict slot of one entry, measured with tracemalloc on CPython 3.11 (64-byte keys)."""


@dataclass(slots=True)
class _Entry:
    value: bytes
    expires_at: float
    group: str

    @property
    def size(self) -> int:
        return len(self.value) + ENTRY_OVERHEAD_BYTES


class MemoryCache:
    """A CacheBackend for one event loop. What stands before a key's last ":" is the group that usage is counted by."""

    def __init__(self, max_bytes: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._usage: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])  # entries, bytes, evictions
        self._bytes = 0

    async def get(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires_at <= self._clock():
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    async def set(self, key: str, value: bytes, ttl_s: float) -> None:
        self._remove(key)
        entry = _Entry(value, self._clock() + ttl_s, key.rpartition(":")[0])
        if ttl_s <= 0 or entry.size > self._max_bytes:
            return
        self._entries[key] = entry
        self._count(entry, +1)
        while self._bytes > self._max_bytes:
            oldest = next(iter(self._entries))
            self._usage[self._entries[oldest].group][2] += 1
            self._remove(oldest)

    async def delete(self, key: str) -> bool:
        return self._remove(key)

    async def clear(self, prefix: str = "") -> int:
        doomed = [key for key in self._entries if key.startswith(prefix)]
        for key in doomed:
            self._remove(key)
        return len(doomed)

    def usage(self, prefix: str = "") -> CacheUsage:
        groups = [counts for group, counts in self._usage.items() if f"{group}:".startswith(prefix)]
        return CacheUsage(*(sum(column) for column in zip(*groups, strict=True))) if groups else CacheUsage()

    async def close(self) -> None:
        await self.clear()

    def _remove(self, key: str) -> bool:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._count(entry, -1)
        return entry is not None

    def _count(self, entry: _Entry, sign: int) -> None:
        counts = self._usage[entry.group]
        counts[0] += sign
        counts[1] += sign * entry.size
        self._bytes += sign * entry.size
