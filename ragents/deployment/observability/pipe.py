"""A pipe of spans to one destination: bounded, off the request's path, and every span that is lost is counted."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from ragents.tracing import RecordedSpan

log = logging.getLogger(__name__)

Reason = Literal["queue_full", "export_failed", "closed"]
OnDrop = Callable[[str, Reason, int], None]
"""Destination, reason, number of spans. Called by the pipe's own thread, and by whoever closes it."""
EVERY_S, LONGEST_PAUSE_S = 1.0, 30.0
"""How often what waits is sent. After a request that failed the pause is doubled: packing spans for a destination that
hangs took most of the CPU time that tracing cost (2026-11-21)."""
BATCH_SPANS = 256
CLOSE_S = 2.0
SAY_EVERY_S = 60.0
ALL_TRACES = (1 << 64) - 1
"""OpenTelemetry's ratio sampling looks at the last 64 bits of a trace's id, and so agrees over all services."""


class Exporter(Protocol):
    """One destination. Called by one thread; whatever it raises is a batch that did not arrive."""

    def export(self, spans: Sequence[RecordedSpan]) -> bool: ...

    def close(self) -> None: ...


class Pipe:
    """`max_spans` wait at most, and one batch is on its way. When it is full, whole questions are left out: one that
    has begun goes on to a pipe that is full with a gap.

    `sample_rate` is of whole traces; with `follows_caller` a caller's own decision comes first.
    """

    def __init__(
        self,
        name: str,
        exporter: Exporter,
        *,
        max_spans: int,
        sample_rate: float,
        on_drop: OnDrop,
        follows_caller: bool = True,
    ) -> None:
        self.name, self._exporter, self._max_spans, self._on_drop = name, exporter, max_spans, on_drop
        self._bound, self._follows = round(sample_rate * (ALL_TRACES + 1)), follows_caller
        self._queue: deque[RecordedSpan] = deque()
        self._unsaid = self._under_way = 0
        self._counting = threading.Lock()
        self._stop, self._over = threading.Event(), False
        self._lost, self._say_at = 0, 0.0
        self._thread = threading.Thread(target=self._run, name=f"spans-to-{name}", daemon=True)
        self._thread.start()

    def wants(self, trace_id: int, *, forced: bool) -> bool:
        return (forced and self._follows) or trace_id & ALL_TRACES < self._bound

    @property
    def full(self) -> bool:
        return len(self._queue) >= self._max_spans

    def put(self, span: RecordedSpan) -> None:
        """Never waits. Callers are on the event loop, and now and then a thread: a span too many does no harm."""
        if len(self._queue) >= self._max_spans:
            self.lost(1)
        else:
            self._queue.append(span)

    def lost(self, spans: int) -> None:
        """Counted now, told to `on_drop` by the pipe's thread: a metric costs more than a span."""
        with self._counting:
            self._unsaid += spans

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Sends what waits, for `timeout_s` at most; the rest is lost and counted."""
        self._stop.set()
        self._thread.join(timeout_s)
        self._over = True  # from here on the thread, if it is in a request still, tells nothing
        self._tell_unsaid()
        if left := len(self._queue) + self._under_way:
            self._queue.clear()
            self._on_drop(self.name, "closed", left)

    def _run(self) -> None:
        pause_s = EVERY_S
        while not self._stop.wait(pause_s):
            pause_s = EVERY_S if self._send_all() else min(2 * pause_s, LONGEST_PAUSE_S)
        self._send_all()
        self._exporter.close()

    def _send_all(self) -> bool:
        """Whether everything arrived; a batch that did not is the last for now, and what waits waits on."""
        while self._queue and not self._over:
            batch = [self._queue.popleft() for _ in range(min(BATCH_SPANS, len(self._queue)))]
            self._under_way = len(batch)
            try:
                taken, why = self._exporter.export(batch), "unreachable, too slow, or refused"
            except Exception as error:  # a library's own; this thread must go on
                taken, why = False, type(error).__name__
            if self._over:
                return False
            self._under_way = 0
            if not taken:
                self._on_drop(self.name, "export_failed", len(batch))
                self._say(len(batch), why)
            self._tell_unsaid()
            if not taken:
                return False
        self._tell_unsaid()
        return True

    def _tell_unsaid(self) -> None:
        with self._counting:
            unsaid, self._unsaid = self._unsaid, 0
        if unsaid:
            self._on_drop(self.name, "queue_full", unsaid)

    def _say(self, spans: int, why: str) -> None:
        self._lost += spans
        if time.monotonic() >= self._say_at:
            self._say_at = time.monotonic() + SAY_EVERY_S
            log.warning("%s: %d spans could not be delivered (%s); answers do not wait", self.name, self._lost, why)
            self._lost = 0


class Pipes:
    """The Recorder of a process."""

    def __init__(self, pipes: Sequence[Pipe]) -> None:
        self._pipes = tuple(pipes)

    def takes(self, trace_id: int, *, forced: bool) -> bool:
        """False as well when no pipe that wants the question has room: then it costs nothing, and none is half told."""
        wanting = [pipe for pipe in self._pipes if pipe.wants(trace_id, forced=forced)]
        if any(not pipe.full for pipe in wanting):
            return True
        for pipe in wanting:
            pipe.lost(1)
        return False

    def ended(self, span: RecordedSpan) -> None:
        for pipe in self._pipes:
            if pipe.wants(span.context.trace_id, forced=span.forced):
                pipe.put(span)

    def close(self) -> None:
        """All at once: the bound of one is the bound of all."""
        closing = [threading.Thread(target=pipe.close, daemon=True) for pipe in self._pipes]
        for each in closing:
            each.start()
        for each in closing:
            each.join()
