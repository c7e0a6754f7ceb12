"""What every Ledger does, over every backend."""

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from ragents.agents.checkpointing import CheckpointConfig, open_thread_state
from ragents.agents.tools import Entry, Ledger
from ragents.agents.types import ThreadKey
from ragents.errors import CheckpointRefused

BACKENDS = ["memory", "postgres", "redis"]


@pytest.fixture(params=BACKENDS)
def config(request: pytest.FixtureRequest) -> CheckpointConfig:
    match request.param:
        case "postgres":
            return CheckpointConfig(postgres_url=request.getfixturevalue("migrated"))
        case "redis":
            return CheckpointConfig(backend="redis", redis_url=request.getfixturevalue("redis_url"))
        case _:
            return CheckpointConfig(backend="memory")


@pytest.fixture
async def ledger(config: CheckpointConfig) -> AsyncIterator[Ledger]:
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


@pytest.mark.parametrize("config", ["postgres", "redis"], indirect=True)
async def test_with_a_key_the_store_holds_no_result_in_plain(config: CheckpointConfig, thread: ThreadKey) -> None:
    key = SecretStr(base64.b64encode(b"k" * 32).decode())
    async with open_thread_state(config.model_copy(update={"encryption_keys": [key]})) as state:
        await state.ledger.finish(thread, "key", "sent")
        assert await state.ledger.begin(thread, "key") == Entry("done", "sent")
    async with open_thread_state(config) as state:
        with pytest.raises(CheckpointRefused):
            await state.ledger.begin(thread, "key")
