"""Group commit: what goes together, and who hears of what."""

import asyncio
from collections.abc import Sequence

import pytest

from ragents.concurrency.batches import Batches


class Store:
    """Answers each item with ten times itself once it is `let`; refuses those below zero."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.let = asyncio.Event()
        self.arrived = asyncio.Event()

    async def together(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        self.arrived.set()
        await self.let.wait()
        if 0 in items:
            raise ConnectionError("gone")
        return [ValueError(str(item)) if item < 0 else 10 * item for item in items]


async def test_an_error_is_its_own_and_an_outage_is_everybodys() -> None:
    store = Store()
    store.let.set()
    batches = Batches(store.together, at_once=1, most=10)

    results = await asyncio.gather(*(batches.run(item) for item in (1, -2, 3)), return_exceptions=True)
    assert (results[0], str(results[1]), results[2]) == (10, "-2", 30)

    results = await asyncio.gather(*(batches.run(item) for item in (1, 0, 3)), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError] * 3
    assert await batches.run(4) == 40


async def test_what_waits_goes_together_and_in_bounds() -> None:
    store = Store()
    batches = Batches(store.together, at_once=1, most=3)
    first = asyncio.create_task(batches.run(1))
    await store.arrived.wait()
    others = [asyncio.create_task(batches.run(item)) for item in range(2, 7)]
    await asyncio.sleep(0)
    store.let.set()

    assert await asyncio.gather(first, *others) == [10, 20, 30, 40, 50, 60]
    assert store.batches == [[1], [2, 3, 4], [5, 6]]


async def test_places_share_evenly() -> None:
    store = Store()
    batches = Batches(store.together, at_once=2, most=32)
    calls = [asyncio.create_task(batches.run(item)) for item in range(1, 33)]
    await store.arrived.wait()
    await asyncio.sleep(0)
    store.let.set()

    assert await asyncio.gather(*calls) == [10 * item for item in range(1, 33)]
    assert [len(batch) for batch in store.batches] == [16, 16]


async def test_of_a_caller_that_gave_up_nothing_is_stored() -> None:
    store = Store()
    batches = Batches(store.together, at_once=1, most=10)
    first = asyncio.create_task(batches.run(1))
    await store.arrived.wait()
    impatient, patient = asyncio.create_task(batches.run(2)), asyncio.create_task(batches.run(3))
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    store.let.set()

    assert await asyncio.gather(first, patient) == [10, 30]
    assert store.batches == [[1], [3]]


async def test_nobody_is_left_waiting_when_a_batch_ends() -> None:
    store = Store()
    store.let.set()
    batches = Batches(store.together, at_once=2, most=4)

    async def again_and_again(item: int) -> None:
        for _ in range(50):
            assert await batches.run(item) == 10 * item

    async with asyncio.timeout(10):
        await asyncio.gather(*(again_and_again(item) for item in range(1, 12)))
