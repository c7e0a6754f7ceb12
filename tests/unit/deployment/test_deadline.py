"""A deadline ends what takes too long, as asyncio.timeout does, and forgives the lag of its own process."""

import asyncio
import time

import pytest

from ragents.deployment.rate_limiting.deadline import Deadline


async def test_what_takes_too_long_is_ended() -> None:
    with pytest.raises(TimeoutError), Deadline(0.01):
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0, "and nothing of it is left on the task"


async def test_what_is_in_time_comes_through_and_nothing_rings_later() -> None:
    with Deadline(0.02):
        result = await asyncio.sleep(0, "done")
    await asyncio.sleep(0.05)
    assert result == "done"


async def test_an_error_passes() -> None:
    with pytest.raises(ValueError, match="mine"), Deadline(1):
        raise ValueError("mine")


async def test_a_cancellation_from_outside_stays_one() -> None:
    async def work() -> None:
        with Deadline(60):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_within_a_timeout_that_ends_first_it_is_the_outer_one_that_rings() -> None:
    async with asyncio.timeout(60) as outer:
        with pytest.raises(TimeoutError), Deadline(0.01):
            await asyncio.Event().wait()
        assert not outer.expired()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01) as outer:
            with Deadline(60):
                await asyncio.Event().wait()
    assert outer.expired()


async def test_an_error_that_swallows_the_cancellation_leaves_nothing_behind() -> None:
    with pytest.raises(ConnectionError), Deadline(0.01):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError from None
    await asyncio.sleep(0)


async def test_when_this_process_was_too_busy_to_look_the_call_has_as_long_again() -> None:
    loop = asyncio.get_running_loop()
    answered = loop.create_future()

    async def call() -> str:
        with Deadline(0.02):
            return str(await answered)

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    time.sleep(0.06)  # noqa: ASYNC251  # the loop stands still, while the answer comes
    loop.call_soon(answered.set_result, "in time")
    assert await task == "in time"


async def test_once_more_and_no_longer() -> None:
    async def call() -> None:
        with Deadline(0.02):
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    time.sleep(0.06)  # noqa: ASYNC251  # as above
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2):
            await task
