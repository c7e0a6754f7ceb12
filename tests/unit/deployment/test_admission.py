"""Places and the queue before them, on the event loop."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from ragents.deployment.admission import Admission
from ragents.deployment.rate_limiting import Priority
from ragents.errors import Overloaded


def make(**settings: float) -> Admission:
    return Admission(**{"max_in_flight": 1, "max_queue": 10, "queue_timeout_s": 5, **settings})  # type: ignore[arg-type]


async def test_one_that_would_wait_longer_than_it_may_is_refused_at_once_with_the_time_it_would_take() -> None:
    admission = make(queue_timeout_s=30)
    async with admission.admit():
        with pytest.raises(Overloaded, match=r"at most 0.5 s are waited") as refused:
            async with admission.admit(deadline_s=0.5):
                pass
    assert (refused.value.reason, refused.value.retry_after_s) == ("deadline", 1.0)


async def test_one_that_waited_in_vain_is_told() -> None:
    admission = make(queue_timeout_s=1.01)
    async with admission.admit():
        with pytest.raises(Overloaded, match="waited") as refused:
            async with admission.admit():
                pass
    assert refused.value.reason == "queue_timeout"
    assert (admission.in_flight, admission.queued) == (0, 0)


async def test_who_stands_better_takes_the_place_in_a_full_queue() -> None:
    admission = make(max_queue=1)

    async def ask(priority: Priority) -> str:
        try:
            async with admission.admit(priority):
                return "answered"
        except Overloaded as error:
            return error.reason

    async with admission.admit():
        low = asyncio.create_task(ask(Priority.LOW))
        await asyncio.sleep(0)
        high = asyncio.create_task(ask(Priority.HIGH))
        assert await low == "queue_full"
        assert await ask(Priority.NORMAL) == "queue_full"
    assert await high == "answered"
    assert (admission.in_flight, admission.queued) == (0, 0)


async def test_who_gives_up_leaves_the_queue_and_a_place_that_came_is_handed_on() -> None:
    admission = make()
    order: list[str] = []

    async def ask(name: str) -> None:
        async with admission.admit(user=name):
            order.append(name)

    async with admission.admit():
        first, second = (asyncio.create_task(ask(name)) for name in ("first", "second"))
        await asyncio.sleep(0)
    first.cancel()  # in the same step in which the place came
    await asyncio.gather(first, second, return_exceptions=True)
    assert order == ["second"]
    assert (admission.in_flight, admission.queued, admission._turns) == (0, 0, {})


async def test_one_that_gives_up_at_the_moment_in_which_it_would_be_pushed_out_does_no_harm() -> None:
    admission = make(max_queue=1)

    async def ask(priority: Priority) -> str:
        async with admission.admit(priority):
            return "answered"

    async with admission.admit():
        low = asyncio.create_task(ask(Priority.LOW))
        await asyncio.sleep(0)
        low.cancel()
        next(iter(admission._turns.values())).cancel()  # as the loop does it, a step later
        high = asyncio.create_task(ask(Priority.HIGH))
        await asyncio.gather(low, return_exceptions=True)
    assert await high == "answered"
    assert (admission.in_flight, admission.queued, admission._turns) == (0, 0, {})


async def test_users_take_turns() -> None:
    admission = make(max_queue=100, queue_timeout_s=100)
    order: list[str] = []

    async def ask(name: str) -> None:
        async with admission.admit(user=name):
            order.append(name)
            await asyncio.sleep(0.02)

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(admission.admit(user="heavy"))
        waiting = [asyncio.create_task(ask("heavy")) for _ in range(20)]
        await asyncio.sleep(0)
        waiting += [asyncio.create_task(ask("light")) for _ in range(3)]
        await asyncio.sleep(0)
        assert admission.depth() == {"CRITICAL": 0, "HIGH": 0, "NORMAL": 23, "LOW": 0}
    await asyncio.gather(*waiting)
    assert max(n for n, name in enumerate(order) if name == "light") <= 12  # in the order they came: 22
