"""Metrics of conversation threads: what is written of them, and how many are in use."""

import time
from collections import OrderedDict
from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram

WINDOW_S = 300.0
MOST_THREADS = 50_000
"""Whose last turn a process remembers: some 8 MB."""
BYTES = (256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304)


class ActiveThreads:
    """How many different threads had a turn in the last five minutes, in bounded memory.

    With more than `most` the oldest are forgotten: the count then stands still at `most`.
    """

    def __init__(self, *, most: int = MOST_THREADS, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._seen: OrderedDict[int, float] = OrderedDict()

    def saw(self, thread: str) -> None:
        key = hash(thread)
        self._seen[key] = self._clock()
        self._seen.move_to_end(key)
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)

    def count(self) -> int:
        oldest = self._clock() - WINDOW_S
        while self._seen and next(iter(self._seen.values())) <= oldest:
            self._seen.popitem(last=False)
        return len(self._seen)


class ThreadMetrics:
    """A thread whose turns several workers served counts in each of them: no worker knows what another has seen."""

    def __init__(self) -> None:
        self._writes = Counter("rag_checkpoint_writes_total", "Checkpoints and task writes stored", ["backend"])
        self._bytes = Histogram("rag_checkpoint_bytes", "Bytes of a checkpoint or of a task's writes", buckets=BYTES)
        self._gauge = Gauge(
            "rag_active_threads", "Threads with a turn in the last five minutes", multiprocess_mode="livesum"
        )
        self._active = ActiveThreads()

    def written(self, backend: str, stored_bytes: int) -> None:
        self._writes.labels(backend).inc()
        self._bytes.observe(stored_bytes)

    def had_turn(self, thread: str) -> None:
        self._active.saw(thread)
        self._gauge.set(self._active.count())

    def look(self) -> None:
        self._gauge.set(self._active.count())
