"""Batcher: calls that wait for the same model share its next batch."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from ragents.embeddings.model_folder import Kind
from ragents.embeddings.types import Vectors
from ragents.errors import Overloaded, RAGentsError

PADDING_SHARE = 32
"""A call joins a batch that it pads by 1/32 of the largest batch at most. On two CPU cores a run costs 2.3 ms and
0.12 ms a token (onnxruntime, 2026-11-21): a run that is saved is worth some 16 tokens of padding, of batches of 500."""
SMOOTHING = 0.2
"""Weight of the newest batch in the moving average that waits are estimated from."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """What one run of the model held. `waits_s` has one entry per call, from its arrival to the run."""

    kind: Kind
    texts: int
    waits_s: tuple[float, ...]
    run_s: float


Observer = Callable[[EncodedBatch], None]


@dataclass(slots=True, eq=False)
class _Call(Generic[Item]):
    items: list[Item]
    longest: int
    result: asyncio.Future[Vectors]
    arrived: float = field(default_factory=time.perf_counter)
    context: Context = field(default_factory=copy_context)

    @property
    def tokens(self) -> int:
        return len(self.items) * self.longest


class Batcher(Generic[Item]):
    """One thread, one batch at a time, for one event loop.

    A call that finds the thread idle runs at once; those that come meanwhile are the next batch, the oldest first and
    with it the ones of about its length. There is no timer: an idle model never waits for company.

    `max_queue` calls may wait, each for `timeout_s` at most; beyond either, Overloaded. A call that is cancelled
    leaves the queue. When a batch fails, its calls run one by one: only the one that fails alone gets the error. An
    error of ours (the encoder's process is down) is everybody's.
    """

    def __init__(
        self,
        kind: Kind,
        encode: Callable[[list[Item]], Vectors],
        *,
        batch_tokens: int,
        max_queue: int,
        timeout_s: float,
        observe: Observer | None = None,
    ) -> None:
        self._kind, self._encode, self._batch_tokens = kind, encode, batch_tokens
        self._max_queue, self._timeout_s, self._observe = max_queue, timeout_s, observe
        self._waiting: list[_Call[Item]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"encoder-{kind}")
        self._running: asyncio.Task[None] | None = None
        self._seconds_per_token = 0.0
        self._closed = False

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def encode(self, items: Sequence[Item], *, longest: int) -> Vectors:
        """(len(items), dimension). `longest` is the tokens of the longest; all items go into one batch."""
        if self._closed:
            raise RuntimeError("the encoder is not open")
        self._refuse_when_full()
        call = _Call(list(items), longest, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._running is None:
            # It starts in the next round of the loop: what comes in this round is in its first batch.
            self._running = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                return await call.result
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._overloaded(f"the encoder did not come to it within {self._timeout_s:g} s") from None
        finally:
            if call in self._waiting:
                self._waiting.remove(call)

    async def close(self) -> None:
        """Waits for the batch that is running; what waits for another one fails."""
        self._closed = True
        self._fail_waiting()
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)
        await asyncio.to_thread(self._thread.shutdown)

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._run_batch(self._take())
        finally:
            self._running = None
            if self._waiting:  # this task was cancelled: nobody would come for them
                self._fail_waiting()

    def _take(self) -> list[_Call[Item]]:
        """The oldest call and those that fit to it, nearest in length first."""
        oldest = self._waiting[0]
        batch, texts, longest = [oldest], len(oldest.items), oldest.longest
        for call in sorted(self._waiting[1:], key=lambda each: abs(each.longest - oldest.longest)):
            more, high = texts + len(call.items), max(longest, call.longest)
            padding = more * high - texts * longest - call.tokens
            if more * high > self._batch_tokens or padding > self._batch_tokens // PADDING_SHARE:
                break
            batch.append(call)
            texts, longest = more, high
        taken = set(map(id, batch))
        self._waiting = [call for call in self._waiting if id(call) not in taken]
        return batch

    async def _run_batch(self, batch: list[_Call[Item]]) -> None:
        started = time.perf_counter()
        try:
            vectors = await self._in_thread([item for call in batch for item in call.items], batch[0].context)
        except RAGentsError as error:  # a neighbour that is down or busy is so for all of them
            for call in batch:
                _fail(call, error)
            return
        except Exception as error:  # each library raises its own: no memory left, a broken driver
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            for call in batch:
                if not call.result.done():
                    await self._run_batch([call])
            return
        except BaseException:
            for call in batch:
                call.result.cancel()
            raise
        run_s = time.perf_counter() - started
        ends = np.cumsum([len(call.items) for call in batch])[:-1]
        for call, rows in zip(batch, np.split(vectors, ends), strict=True):
            if not call.result.done():
                call.result.set_result(rows)
        self._note(batch, started=started, run_s=run_s)

    async def _in_thread(self, items: list[Item], context: Context) -> Vectors:
        """In the context of the oldest call: a batch that goes to another process goes in that question's trace."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, context.run, self._encode, items)

    def _note(self, batch: list[_Call[Item]], *, started: float, run_s: float) -> None:
        texts = sum(len(call.items) for call in batch)
        per_token = run_s / (texts * max(call.longest for call in batch))
        known = self._seconds_per_token or per_token
        self._seconds_per_token = known + SMOOTHING * (per_token - known)
        if self._observe is not None:
            waits = tuple(started - call.arrived for call in batch)
            self._observe(EncodedBatch(kind=self._kind, texts=texts, waits_s=waits, run_s=run_s))

    def _refuse_when_full(self) -> None:
        if self.waiting >= self._max_queue:
            raise self._overloaded(f"{self.waiting} calls wait for the encoder")
        if (wait_s := self._expected_wait_s()) > self._timeout_s:
            raise self._overloaded(f"the encoder is {wait_s:.0f} s behind")

    def _expected_wait_s(self) -> float:
        return self._seconds_per_token * sum(call.tokens for call in self._waiting)

    def _overloaded(self, message: str) -> Overloaded:
        remedy = "try again later, or raise embeddings.threads or the number of replicas"
        return Overloaded(f"{message}; {remedy}", retry_after_s=max(1.0, self._expected_wait_s()))

    def _fail_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            _fail(call, RuntimeError("the encoder is not open any more"))


def _fail(call: _Call[Item], error: Exception) -> None:
    if not call.result.done():
        call.result.set_exception(error)
