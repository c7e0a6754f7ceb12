"""Metrics of ingestions: in the service, and in `ragents ingest --metrics-port`."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge

from ragents.ingestion import OnProgress, Progress

WINDOW_S = 30.0


class ChunkRate:
    """Chunks by the second, over the last WINDOW_S or since `begin`, whichever is shorter."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._stored: deque[tuple[float, int]] = deque()

    def begin(self) -> None:
        self._began = self._clock()
        self._stored.clear()

    def note(self, chunks: int) -> None:
        self._stored.append((self._clock(), chunks))

    def per_second(self) -> float:
        now = self._clock()
        while self._stored and self._stored[0][0] <= now - WINDOW_S:
            self._stored.popleft()
        seconds = min(WINDOW_S, max(1.0, now - self._began))  # a first document is no rate yet
        return sum(chunks for _, chunks in self._stored) / seconds


class IngestMetrics:
    """Made once in a process. Chunks count when their document is stored."""

    def __init__(self) -> None:
        self._chunks = Counter("rag_ingested_chunks_total", "Chunks stored")
        self._rate = Gauge(
            "rag_ingest_chunks_per_second",
            f"Chunks stored in the last {WINDOW_S:g} s of an ingestion, by the second; 0 while there is none",
            multiprocess_mode="livesum",
        )
        self._running = Gauge("rag_ingest_running", "Ingestions under way", multiprocess_mode="livesum")
        self._runs = 0
        self._stored = ChunkRate()

    @contextmanager
    def running(self, then: OnProgress | None = None) -> Iterator[OnProgress]:
        """One ingestion: what is yielded is its on_progress, which tells `then` as well."""
        seen = 0

        def told(progress: Progress) -> None:
            nonlocal seen
            stored, seen = progress.chunks - seen, progress.chunks
            self._chunks.inc(stored)
            self._stored.note(stored)
            self.look()
            if then is not None:
                then(progress)

        if self._runs == 0:
            self._stored.begin()
        self._runs += 1
        self._running.set(self._runs)
        try:
            yield told
        finally:
            self._runs -= 1
            self._running.set(self._runs)
            self.look()

    def look(self) -> None:
        """Bring the rate up to date: of an ingestion that stands still nobody tells anything."""
        self._rate.set(self._stored.per_second() if self._runs else 0.0)
