"""What every RunLog does, and what two servers that share one tell their readers."""

import asyncio
import base64
import time
import uuid
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from ragents.agents.checkpointing import CheckpointConfig, open_thread_state
from ragents.agents.checkpointing.run_log import RunLog
from ragents.deployment.runs import Event, Run, Runs
from ragents.deployment.runs import shared as shared_runs
from ragents.errors import CheckpointRefused, NotFound
from ragents.principal import ANONYMOUS, Principal


@pytest.fixture(params=["postgres", "redis"])
def config(request: pytest.FixtureRequest) -> CheckpointConfig:
    if request.param == "postgres":
        return CheckpointConfig(postgres_url=request.getfixturevalue("migrated"))
    return CheckpointConfig(backend="redis", redis_url=request.getfixturevalue("redis_url"))


@pytest.fixture
async def log(config: CheckpointConfig) -> AsyncIterator[RunLog]:
    async with open_thread_state(config) as state:
        assert state.runs is not None
        yield state.runs


@pytest.fixture
def run() -> str:
    return f"me:{uuid.uuid4()}"


async def test_a_run_that_is_not_there_is_none(log: RunLog, run: str) -> None:
    assert await log.read("a", run, after=0) is None
    assert await log.unread_s("a", run) is None


async def test_events_are_read_in_order_from_where_the_reader_was(log: RunLog, run: str) -> None:
    texts = ["ünï 🙂 'quoted' \\ {}", "", "nul \\u0000", "x" * 100_000]
    await log.append("a", run, [(n, "token", text) for n, text in enumerate(texts[:3], start=1)], ttl_s=60)
    await log.append("a", run, [(4, "done", texts[3])], ttl_s=60)
    page = await log.read("a", run, after=0)
    assert page is not None
    assert page.entries == [(1, "token", texts[0]), (2, "token", ""), (3, "token", texts[2]), (4, "done", texts[3])]
    rest = await log.read("a", run, after=2, limit=1)
    assert rest is not None
    assert rest.entries == [(3, "token", texts[2])]


async def test_an_append_that_is_repeated_changes_nothing(log: RunLog, run: str) -> None:
    for text in ("first", "second"):
        await log.append("a", run, [(1, "token", text)], ttl_s=60)
    page = await log.read("a", run, after=0)
    assert page is not None
    assert page.entries == [(1, "token", "first")]


async def test_a_run_that_says_nothing_is_told_from_one_that_is_alive(log: RunLog, run: str) -> None:
    await log.append("a", run, [], ttl_s=60)
    await asyncio.sleep(0.2)
    silent = await log.read("a", run, after=0)
    appended = time.monotonic()
    await log.append("a", run, [], ttl_s=60)
    alive = await log.read("a", run, after=0)
    since_s = time.monotonic() - appended
    assert silent is not None
    assert alive is not None
    assert silent.entries == alive.entries == []
    assert silent.silent_s >= 0.2
    assert alive.silent_s <= since_s + 0.01


async def test_reading_is_noted_and_asking_for_it_is_not(log: RunLog, run: str) -> None:
    await log.append("a", run, [(1, "token", "x")], ttl_s=60)
    assert await log.unread_s("a", run) is None
    await log.read("a", run, after=0)
    await asyncio.sleep(0.1)
    first, second = await log.unread_s("a", run), await log.unread_s("a", run)
    assert first is not None
    assert second is not None
    assert 0.1 <= first <= second


async def test_a_run_is_forgotten_after_its_time(log: RunLog, run: str) -> None:
    await log.append("a", run, [(1, "token", "x")], ttl_s=0.1)
    await asyncio.sleep(0.3)
    assert await log.read("a", run, after=0) is None


@pytest.mark.parametrize(("tenant", "suffix"), [("b", ""), ("a", "x"), ("", ""), ("a:me", "")])
async def test_runs_of_others_are_apart(log: RunLog, run: str, tenant: str, suffix: str) -> None:
    await log.append("a", run, [(1, "token", "x")], ttl_s=60)
    assert await log.read(tenant, run + suffix, after=0) is None


async def test_with_a_key_the_store_holds_no_event_in_plain(config: CheckpointConfig, run: str) -> None:
    key = SecretStr(base64.b64encode(b"k" * 32).decode())
    async with open_thread_state(config.model_copy(update={"encryption_keys": [key]})) as state:
        assert state.runs is not None
        await state.runs.append("a", run, [(1, "token", "secret")], ttl_s=60)
    async with open_thread_state(config) as state:
        assert state.runs is not None
        with pytest.raises(CheckpointRefused):
            await state.runs.read("a", run, after=0)


# Two servers


async def told(runs: Runs, name: str, *, after: int = 0) -> list[Event]:
    return [event async for event in await runs.find(name, ANONYMOUS, after=after)]


async def in_the_log(log: RunLog, name: str) -> None:
    """Until the run's first event is there for other servers."""
    async with asyncio.timeout(20):
        while (
            page := await log.read(ANONYMOUS.tenant, f"{ANONYMOUS.user}:{name}", after=0)
        ) is None or not page.entries:
            await asyncio.sleep(0.01)


async def slowly(run: Run) -> None:
    for n in range(10):
        await run.put("token", {"text": str(n)})
        await asyncio.sleep(0.03)
    await run.put("done", {})


async def test_a_reader_goes_on_at_another_server(log: RunLog) -> None:
    here, there = Runs(grace_s=20, log=log), Runs(grace_s=20, log=log)
    name = str(uuid.uuid4())
    await here.start(name, ANONYMOUS, slowly, told=lambda error: {})
    first = here.read(name, ANONYMOUS)
    seen = [await anext(first)]
    await first.aclose()
    await in_the_log(log, name)
    with pytest.raises(NotFound):
        await there.find(name, Principal("default", "somebody else"))
    seen += await told(there, name, after=1)
    assert [event.id for event in seen] == list(range(1, 12))
    assert seen[-1].name == "done"
    await here.close()
    await there.close()


async def test_a_run_goes_on_while_it_is_read_elsewhere(log: RunLog) -> None:
    here, there = Runs(grace_s=1.0, log=log), Runs(grace_s=1.0, log=log)
    name, go_on = str(uuid.uuid4()), asyncio.Event()

    async def work(run: Run) -> None:
        await run.put("status", {"text": "thinking"})
        await go_on.wait()
        await run.put("done", {})

    await here.start(name, ANONYMOUS, work, told=lambda error: {})
    first = here.read(name, ANONYMOUS)
    await anext(first)
    await first.aclose()
    await in_the_log(log, name)
    reading = asyncio.create_task(told(there, name))
    await asyncio.sleep(2.5)  # more than twice the grace
    go_on.set()
    events = await asyncio.wait_for(reading, 20)
    assert [event.name for event in events] == ["status", "done"]
    await here.close()
    await there.close()


async def test_a_reader_is_told_when_the_server_that_answered_is_gone(
    log: RunLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_runs, "SILENT_S", 0.3)
    name = str(uuid.uuid4())
    await log.append(ANONYMOUS.tenant, f"{ANONYMOUS.user}:{name}", [(1, "token", '{"text": "a"}')], ttl_s=60)
    events = await asyncio.wait_for(told(Runs(grace_s=5, log=log), name), 20)
    assert [event.name for event in events] == ["token", "error"]
    assert '"run_lost"' in events[-1].data
