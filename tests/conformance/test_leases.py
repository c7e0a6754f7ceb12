"""What every Leases does."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from ragents.agents.checkpointing.leases import Leases, MemoryLeases, hold
from ragents.errors import BackendUnavailable, ThreadBusy, ThreadTaken
from tests.savers import STORES, Store


@pytest.fixture(params=["memory", *STORES])
def backend(request: pytest.FixtureRequest) -> Store | None:
    """None: memory. Not async: the servers' own fixtures are, and are asked for by name."""
    return None if request.param == "memory" else STORES[request.param](request)


@pytest.fixture
async def leases(backend: Store | None) -> AsyncIterator[Leases]:
    if backend is None:
        yield MemoryLeases()
        return
    async with backend.open() as saver:
        yield backend.leases(saver)


@pytest.fixture
def thread() -> str:
    return f"a {{thread}}: {uuid.uuid4()}"


async def test_only_one_of_many_takes_a_thread(leases: Leases, thread: str) -> None:
    taken = await asyncio.gather(*(leases.take("a", thread, ttl_s=5) for _ in range(20)))

    assert len([fence for fence in taken if fence is not None]) == 1


async def test_a_later_number_is_greater(leases: Leases, thread: str) -> None:
    first = await leases.take("a", thread, ttl_s=5)
    await leases.release("a", thread, fence=first)
    second = await leases.take("a", thread, ttl_s=5)

    assert second > first


async def test_a_lease_runs_out(leases: Leases, thread: str) -> None:
    first = await leases.take("a", thread, ttl_s=0.05)
    await asyncio.sleep(0.1)
    second = await leases.take("a", thread, ttl_s=5)

    assert second > first
    assert not await leases.renew("a", thread, fence=first, ttl_s=5)


async def test_a_lease_that_ran_out_goes_on_when_nobody_took_it(leases: Leases, thread: str) -> None:
    fence = await leases.take("a", thread, ttl_s=0.05)
    await asyncio.sleep(0.1)

    assert await leases.renew("a", thread, fence=fence, ttl_s=5)
    assert await leases.take("a", thread, ttl_s=5) is None


async def test_renewing_prolongs(leases: Leases, thread: str) -> None:
    fence = await leases.take("a", thread, ttl_s=0.1)
    await leases.renew("a", thread, fence=fence, ttl_s=5)
    await asyncio.sleep(0.15)

    assert await leases.take("a", thread, ttl_s=5) is None


async def test_an_old_number_frees_nothing(leases: Leases, thread: str) -> None:
    old = await leases.take("a", thread, ttl_s=0.05)
    await asyncio.sleep(0.1)
    await leases.take("a", thread, ttl_s=5)
    await leases.release("a", thread, fence=old)

    assert await leases.take("a", thread, ttl_s=5) is None


async def test_a_lease_given_back_is_not_renewed(leases: Leases, thread: str) -> None:
    fence = await leases.take("a", thread, ttl_s=5)
    await leases.release("a", thread, fence=fence)

    assert not await leases.renew("a", thread, fence=fence, ttl_s=5)


@pytest.mark.parametrize(("tenant", "name"), [("b", "t"), ("", "a:t"), ("a:", "t"), ("a", "t:")])
async def test_threads_of_other_names_are_free(leases: Leases, tenant: str, name: str) -> None:
    unique = str(uuid.uuid4())
    await leases.take("a", unique + "t", ttl_s=5)

    assert await leases.take(tenant, unique + name, ttl_s=5) is not None


async def test_hold_waits_and_then_says_busy(leases: Leases, thread: str) -> None:
    async with hold(leases, "a", thread, wait_s=0):
        with pytest.raises(ThreadBusy):
            async with hold(leases, "a", thread, wait_s=0.1):
                pass
    async with hold(leases, "a", thread, wait_s=0) as fence:
        assert fence > 0


async def test_hold_ends_when_the_thread_was_taken(leases: Leases, thread: str) -> None:
    with pytest.raises(ThreadTaken):
        async with hold(leases, "a", thread, wait_s=0, lease_s=0.3) as fence:
            await leases.release("a", thread, fence=fence)
            await leases.take("a", thread, ttl_s=5)
            await asyncio.sleep(2)


async def test_a_lease_is_given_back_as_soon_as_the_store_is_there_again(leases: Leases, thread: str) -> None:
    given_back = asyncio.Event()

    class Down:
        """The store fails when the turn ends, and for a while after it."""

        take, renew = leases.take, leases.renew
        failures = 3

        async def release(self, tenant: str, thread: str, *, fence: int) -> None:
            if self.failures:
                self.failures -= 1
                raise BackendUnavailable("checkpointer", "it is starting")
            await leases.release(tenant, thread, fence=fence)
            given_back.set()

    async with hold(Down(), "a", thread, wait_s=0, lease_s=60):
        pass
    assert await leases.take("a", thread, ttl_s=5) is None, "it was not given back yet"
    await asyncio.wait_for(given_back.wait(), 10)
    assert await leases.take("a", thread, ttl_s=5) is not None
