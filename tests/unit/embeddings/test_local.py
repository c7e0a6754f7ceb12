"""LocalEmbedder over an encoder that a test holds and lets go."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from ragents.embeddings.local import INLINE_CHARACTERS, LocalEmbedder, Tokenized, split_into_batches
from ragents.embeddings.model_folder import Kind
from ragents.embeddings.types import Vectors
from ragents.errors import ConfigError

TIMEOUT_S = 10


class GatedEncoder:
    """One token per character, one text per batch; `encode` notes what it is given, and documents wait at the gate."""

    dimension, max_tokens, batch_tokens = 2, 5_000, 1

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.seen: list[str] = []
        self.tokenized_in: list[str] = []
        self.ran_in: list[threading.Thread] = []
        self.fails = False

    def tokenize(self, texts: Sequence[str], kind: Kind) -> list[Tokenized]:
        self.tokenized_in.append(threading.current_thread().name)
        return [Tokenized(text, [1] * len(text)) for text in texts]

    def encode(self, batch: Sequence[Tokenized], kind: Kind) -> Vectors:
        self.seen += [each.text for each in batch]
        self.ran_in.append(threading.current_thread())
        self.entered.release()
        if kind == "document":
            assert self.gate.acquire(timeout=TIMEOUT_S)
        if self.fails:
            raise MemoryError
        return np.tile(np.array([1, 0], np.float32), (len(batch), 1))

    def open_gate(self) -> None:
        for _ in range(1_000):
            self.gate.release()

    async def running(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=TIMEOUT_S)


@pytest.fixture
def encoder() -> GatedEncoder:
    return GatedEncoder()


@pytest.fixture
async def embedder(encoder: GatedEncoder) -> AsyncIterator[LocalEmbedder]:
    async with LocalEmbedder("gated", lambda: encoder) as opened:
        yield opened
        encoder.open_gate()


async def test_before_and_after_its_block_it_says_that_it_is_not_open(encoder: GatedEncoder) -> None:
    embedder = LocalEmbedder("gated", lambda: encoder)
    with pytest.raises(RuntimeError, match="'gated' is not open"):
        await embedder.embed_query("x")
    async with embedder:
        pass
    with pytest.raises(RuntimeError, match="'gated' is not open"):
        await embedder.embed_query("x")


async def test_a_model_that_does_not_load_can_be_tried_again(encoder: GatedEncoder) -> None:
    attempts = iter([ConfigError("no model"), None])

    def load() -> GatedEncoder:
        if error := next(attempts):
            raise error
        return encoder

    embedder = LocalEmbedder("late", load)
    with pytest.raises(ConfigError, match="no model"):
        async with embedder:
            pass
    async with embedder:
        assert (await embedder.embed_query("x")).tolist() == [1, 0]


async def test_closing_ends_its_threads(encoder: GatedEncoder) -> None:
    async with LocalEmbedder("gated", lambda: encoder) as embedder:
        await embedder.embed_query("x")
        assert encoder.ran_in[0].is_alive()
    assert not encoder.ran_in[0].is_alive()


async def test_an_error_in_a_batch_leaves_it_usable(embedder: LocalEmbedder, encoder: GatedEncoder) -> None:
    encoder.open_gate()
    encoder.fails = True
    with pytest.raises(MemoryError):
        await embedder.embed_query("x")
    encoder.fails = False
    assert (await embedder.embed_query("x")).tolist() == [1, 0]


async def test_a_question_does_not_wait_for_the_batch_of_an_ingest(
    embedder: LocalEmbedder, encoder: GatedEncoder
) -> None:
    bulk = asyncio.create_task(embedder.embed_documents(["bulk 1", "bulk 2"]))
    await encoder.running()
    await asyncio.wait_for(embedder.embed_query("question"), TIMEOUT_S)
    assert encoder.seen == ["bulk 1", "question"]
    encoder.open_gate()
    await bulk


async def test_ingests_take_turns_batch_by_batch(embedder: LocalEmbedder, encoder: GatedEncoder) -> None:
    first = asyncio.create_task(embedder.embed_documents(["a1", "a2"]))
    await encoder.running()
    second = asyncio.create_task(embedder.embed_documents(["b1", "b2"]))
    await asyncio.sleep(0)  # one round of the loop: its first batch is in the queue
    encoder.open_gate()
    await asyncio.gather(first, second)
    assert encoder.seen == ["a1", "b1", "a2", "b2"]


async def test_a_cancelled_bulk_stops_after_the_batch_that_is_running(
    embedder: LocalEmbedder, encoder: GatedEncoder
) -> None:
    bulk = asyncio.create_task(embedder.embed_documents(["bulk 1", "bulk 2"]))
    await encoder.running()
    bulk.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bulk
    encoder.open_gate()
    await embedder.embed_query("question")
    assert encoder.seen == ["bulk 1", "question"]


async def test_closing_waits_for_the_running_batch_and_refuses_the_next(encoder: GatedEncoder) -> None:
    async with LocalEmbedder("gated", lambda: encoder) as embedder:
        bulk = asyncio.create_task(embedder.embed_documents(["bulk 1", "bulk 2"]))
        await encoder.running()
        encoder.open_gate()
    with pytest.raises(RuntimeError, match="not open"):
        await bulk
    assert encoder.seen == ["bulk 1"]


async def test_long_texts_are_tokenized_off_the_loop_and_short_ones_on_it(
    embedder: LocalEmbedder, encoder: GatedEncoder
) -> None:
    encoder.open_gate()
    await embedder.embed_documents(["x" * INLINE_CHARACTERS])
    await embedder.embed_documents(["x" * INLINE_CHARACTERS, "y"])
    here = threading.current_thread().name
    assert encoder.tokenized_in[0] == here != encoder.tokenized_in[1]


@pytest.mark.parametrize("lengths", [[], [5], [256] * 5, [1, 500, 2, 3, 499], [501, 1], list(range(1, 257))])
def test_batches_hold_each_text_once_within_the_budget(lengths: list[int]) -> None:
    batches = list(split_into_batches(lengths, batch_tokens=500))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 500


def test_batches_are_as_full_as_the_budget_allows() -> None:
    assert [len(batch) for batch in split_into_batches([100] * 12, batch_tokens=500)] == [5, 5, 2]
