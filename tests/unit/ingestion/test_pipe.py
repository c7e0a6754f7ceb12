"""A pipe holds so much and no more, and gives what fits together."""

import asyncio

import pytest

from ragents.ingestion.pipe import Pipe


async def test_a_closed_pipe_gives_what_it_holds_and_then_nothing() -> None:
    pipe: Pipe[int] = Pipe(10, lambda weight: weight)
    await pipe.put(3)
    await pipe.close()
    assert await pipe.take(10) == [3]
    assert await pipe.take(10) == []


async def test_who_gives_more_than_fits_waits() -> None:
    pipe: Pipe[int] = Pipe(10, lambda weight: weight)
    await pipe.put(6)
    giving = asyncio.create_task(pipe.put(5))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await asyncio.shield(giving)
    assert await pipe.take(1) == [6]
    await giving
    assert await pipe.take(1) == [5]


async def test_one_heavier_than_all_goes_alone() -> None:
    pipe: Pipe[int] = Pipe(10, lambda weight: weight)
    await pipe.put(50)
    giving = asyncio.create_task(pipe.put(1))
    await asyncio.sleep(0)
    assert await pipe.take(10) == [50]
    await giving
    assert await pipe.take(10) == [1]


async def test_what_is_taken_together_weighs_no_more_than_asked_for() -> None:
    pipe: Pipe[int] = Pipe(100, lambda weight: weight)
    for weight in (4, 4, 4, 9):
        await pipe.put(weight)
    assert await pipe.take(8) == [4, 4]
    assert await pipe.take(8) == [4]
    assert await pipe.take(8) == [9]


async def test_a_taker_waits_for_the_first() -> None:
    pipe: Pipe[int] = Pipe(10, lambda weight: weight)
    taking = asyncio.create_task(pipe.take(5))
    await asyncio.sleep(0)
    await pipe.put(2)
    assert await taking == [2]
