"""Batcher over a model that a test holds and lets go."""

import asyncio
import threading
from collections.abc import AsyncIterator

import numpy as np
import pytest

from ragents.embeddings.batching import Batcher, EncodedBatch
from ragents.embeddings.types import Vectors
from ragents.errors import EncoderUnavailable, Overloaded

TIMEOUT_S = 10


class HeldModel:
    """A text's vector is (its length, 1). Notes its batches, and waits at the gate once `hold` is set."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate, self.entered = threading.Semaphore(0), threading.Semaphore(0)
        self.hold = False

    def encode(self, texts: list[str]) -> Vectors:
        self.batches.append(texts)
        self.entered.release()
        if self.hold:
            assert self.gate.acquire(timeout=TIMEOUT_S)
        if any("broken" in text for text in texts):
            raise MemoryError(f"{len(texts)} texts")
        return np.array([[len(text), 1] for text in texts], np.float32)

    async def running(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=TIMEOUT_S)

    def let_go(self) -> None:
        self.hold = False
        self.gate.release()


@pytest.fixture
def model() -> HeldModel:
    return HeldModel()


@pytest.fixture
def observed() -> list[EncodedBatch]:
    return []


@pytest.fixture
async def batcher(model: HeldModel, observed: list[EncodedBatch]) -> AsyncIterator[Batcher[str]]:
    made = create(model, observed)
    yield made
    model.let_go()
    await made.close()


def create(
    model: HeldModel, observed: list[EncodedBatch], *, max_queue: int = 100, timeout_s: float = TIMEOUT_S
) -> Batcher[str]:
    return Batcher(
        "query",
        model.encode,
        batch_tokens=320,
        max_queue=max_queue,
        timeout_s=timeout_s,
        observe=observed.append,
    )


async def ask(batcher: Batcher[str], *texts: str) -> Vectors:
    return await batcher.encode(texts, longest=max(map(len, texts)))


async def start(batcher: Batcher[str], *texts: str) -> asyncio.Task[Vectors]:
    """The call, in the queue."""
    task = asyncio.create_task(ask(batcher, *texts))
    await asyncio.sleep(0)  # one round of the loop
    return task


async def held(batcher: Batcher[str], model: HeldModel) -> asyncio.Task[Vectors]:
    """A call that the model is busy with until `let_go`."""
    model.hold = True
    first = await start(batcher, "first")
    await model.running()
    return first


async def test_a_call_beyond_the_queue_is_refused_with_what_to_do(model: HeldModel) -> None:
    batcher = create(model, [], max_queue=2)
    calls = [await held(batcher, model), await start(batcher, "a"), await start(batcher, "b")]
    with pytest.raises(Overloaded, match=r"2 calls wait for the encoder; try again later, or raise") as error:
        await ask(batcher, "c")
    assert error.value.retry_after_s >= 1
    model.let_go()
    await asyncio.gather(*calls)
    assert (await ask(batcher, "c")).tolist() == [[1, 1]]
    await batcher.close()


async def test_a_call_that_waits_too_long_is_overloaded_and_leaves_the_queue(model: HeldModel) -> None:
    batcher = create(model, [], timeout_s=0.05)
    first = await held(batcher, model)
    with pytest.raises(Overloaded, match="within 0.05 s"):
        await ask(batcher, "late")
    assert batcher.waiting == 0
    model.let_go()
    await asyncio.gather(first, return_exceptions=True)
    await batcher.close()
    assert model.batches == [["first"]]


async def test_a_callers_own_deadline_passes_through(batcher: Batcher[str], model: HeldModel) -> None:
    first = await held(batcher, model)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await ask(batcher, "hurried")
    assert batcher.waiting == 0
    model.let_go()
    await first
    assert model.batches == [["first"]]


async def test_a_cancelled_call_frees_its_place(batcher: Batcher[str], model: HeldModel) -> None:
    first, gone, stays = await held(batcher, model), await start(batcher, "gone"), await start(batcher, "stays")
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert batcher.waiting == 1
    model.let_go()
    await asyncio.gather(first, stays)
    assert model.batches == [["first"], ["stays"]]


async def test_one_cancelled_in_a_running_batch_leaves_the_others_their_vectors(
    batcher: Batcher[str], model: HeldModel
) -> None:
    model.hold = True
    gone, stays = asyncio.create_task(ask(batcher, "gone")), asyncio.create_task(ask(batcher, "stays"))
    await model.running()
    gone.cancel()
    model.let_go()
    assert (await stays).tolist() == [[5, 1]]
    assert model.batches == [["gone", "stays"]]


async def test_only_the_call_that_fails_alone_gets_the_error(batcher: Batcher[str], model: HeldModel) -> None:
    results = await asyncio.gather(*(ask(batcher, text) for text in ("one", "broken", "two")), return_exceptions=True)
    assert isinstance(results[1], MemoryError)
    assert [results[0].tolist(), results[2].tolist()] == [[[3, 1]], [[3, 1]]]  # type: ignore[union-attr]
    assert sorted(map(len, model.batches)) == [1, 1, 1, 3]


async def test_an_error_of_ours_is_everybodys_and_is_not_tried_again(
    batcher: Batcher[str], model: HeldModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(texts: list[str]) -> Vectors:
        model.batches.append(texts)
        raise EncoderUnavailable("gone")

    monkeypatch.setattr(batcher, "_encode", down)
    results = await asyncio.gather(*(ask(batcher, text) for text in ("one", "two")), return_exceptions=True)
    assert [type(result) for result in results] == [EncoderUnavailable] * 2
    assert len(model.batches) == 1


async def test_closing_refuses_what_waits_and_what_comes(model: HeldModel) -> None:
    batcher = create(model, [])
    first, second = await held(batcher, model), await start(batcher, "second")
    closing = asyncio.create_task(batcher.close())
    with pytest.raises(RuntimeError, match="not open"):
        await second
    model.let_go()
    await closing
    assert (await first).tolist() == [[5, 1]]
    with pytest.raises(RuntimeError, match="not open"):
        await ask(batcher, "third")


async def test_calls_of_one_moment_share_a_batch_and_get_their_own_rows(
    batcher: Batcher[str], model: HeldModel
) -> None:
    rows = await asyncio.gather(ask(batcher, "a"), ask(batcher, "bb", "ccc"), ask(batcher, "dddd"))
    assert [each.tolist() for each in rows] == [[[1, 1]], [[2, 1], [3, 1]], [[4, 1]]]
    assert len(model.batches) == 1


async def test_what_comes_while_the_model_runs_is_the_next_batch(batcher: Batcher[str], model: HeldModel) -> None:
    calls = [await held(batcher, model), *[await start(batcher, text) for text in ("a", "b", "c")]]
    model.let_go()
    await asyncio.gather(*calls)
    assert model.batches == [["first"], ["a", "b", "c"]]


async def test_a_long_text_does_not_pad_short_ones_and_the_oldest_is_never_passed_over(
    batcher: Batcher[str], model: HeldModel
) -> None:
    long = "x" * 100
    calls = [await held(batcher, model), *[await start(batcher, text) for text in (long, "a", "b", long)]]
    model.let_go()
    await asyncio.gather(*calls)
    assert model.batches == [["first"], [long, long], ["a", "b"]]


async def test_batches_keep_to_the_budget_of_tokens(batcher: Batcher[str], model: HeldModel) -> None:
    await asyncio.gather(*(ask(batcher, "x" * 100) for _ in range(7)))
    assert list(map(len, model.batches)) == [3, 3, 1]


async def test_each_batch_is_observed_with_its_waits(
    batcher: Batcher[str], model: HeldModel, observed: list[EncodedBatch]
) -> None:
    await asyncio.gather(ask(batcher, "a"), ask(batcher, "b", "c"))
    (batch,) = observed
    assert (batch.kind, batch.texts, len(batch.waits_s)) == ("query", 3, 2)
    assert min(batch.waits_s) >= 0 < batch.run_s
