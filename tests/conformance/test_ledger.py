"""What every Ledger does, over every backend."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from ragents.agents.checkpointing import CheckpointConfig, open_thread_state
from ragents.agents.tools import Entry, Ledger, MemoryLedger
from ragents.agents.types import ThreadKey

BACKENDS = ["memory", "postgres", "redis"]


@pytest.fixture(params=BACKENDS)
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[Ledger]:
    match request.param:
        case "memory":
            yield MemoryLedger()
        case "postgres":
            config = CheckpointConfig(postgres_url=request.getfixturevalue("migrated"))
            async with open_thread_state(config) as state:
                yield state.ledger
        case "redis":
            config = CheckpointConfig(backend="redis", redis_url=request.getfixturevalue("redis_url"))
            async with open_thread_state(config) as state:
                yield state.ledger


@pytest.fixture
def thread() -> ThreadKey:
    return ThreadKey(f"tenant-{uuid.uuid4()}", "t")


async def test_of_all_callers_at_once_one_may_run_the_call(ledger: Ledger, thread: ThreadKey) -> None:
    entries = await asyncio.gather(*(ledger.begin(thread, "key") for _ in range(20)))
    assert sorted(entry.state for entry in entries) == ["new"] + ["started"] * 19


async def test_a_call_that_was_begun_and_not_finished_stays_so(ledger: Ledger, thread: ThreadKey) -> None:
    await ledger.begin(thread, "key")
    assert [await ledger.begin(thread, "key") for _ in range(2)] == [Entry("started", None)] * 2


@pytest.mark.parametrize("result", ["sent", "", "ünï 🙂 'quoted' \\ {}", "x" * 100_000])
async def test_a_finished_call_gives_its_result(ledger: Ledger, thread: ThreadKey, result: str) -> None:
    await ledger.begin(thread, "key")
    await ledger.finish(thread, "key", result)
    assert await ledger.begin(thread, "key") == Entry("done", result)


async def test_the_first_result_stays(ledger: Ledger, thread: ThreadKey) -> None:
    await ledger.begin(thread, "key")
    for result in ("first", "second"):
        await ledger.finish(thread, "key", result)
    assert await ledger.begin(thread, "key") == Entry("done", "first")


async def test_a_call_that_is_finished_without_a_beginning_is_done(ledger: Ledger, thread: ThreadKey) -> None:
    await ledger.finish(thread, "key", "sent")
    assert await ledger.begin(thread, "key") == Entry("done", "sent")


async def test_calls_threads_and_tenants_are_apart(ledger: Ledger, thread: ThreadKey) -> None:
    await ledger.begin(thread, "key")
    await ledger.finish(thread, "key", "sent")
    for other, key in [
        (thread, "another key"),
        (ThreadKey(thread.tenant, "u"), "key"),
        (ThreadKey(f"{thread.tenant}-2", "t"), "key"),
        (ThreadKey("", f"{thread.tenant}:t"), "key"),
    ]:
        assert await ledger.begin(other, key) == Entry("new")


async def test_a_forgotten_thread_begins_anew_and_no_other_does(ledger: Ledger, thread: ThreadKey) -> None:
    kept = ThreadKey(thread.tenant, "kept")
    for each in (thread, kept):
        await ledger.begin(each, "key")
    await ledger.forget(thread)
    await ledger.forget(ThreadKey(thread.tenant, "never was"))
    assert await ledger.begin(thread, "key") == Entry("new")
    assert await ledger.begin(kept, "key") == Entry("started")
