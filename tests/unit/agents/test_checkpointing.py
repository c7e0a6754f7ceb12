"""Threads beyond what the conformance tables ask: expiry, isolation, outages, and the ways to open a saver."""

import asyncio
import base64
import uuid
from typing import Any

import asyncpg
import pytest
from langgraph.graph import END, START, StateGraph
from pydantic import ValidationError

from ragents.agents.checkpointing import (
    CheckpointConfig,
    checkpoint_saver,
    close_checkpoint_saver,
    create_checkpoint_saver,
    open_thread_state,
)
from ragents.agents.checkpointing.postgres import PostgresCheckpointSaver
from ragents.agents.checkpointing.postgres.text import from_text, to_text
from ragents.agents.checkpointing.postgres.threads import sweep
from ragents.agents.types import ThreadKey
from ragents.deployment.app import APP_ROLE
from ragents.errors import BackendUnavailable, ConfigError
from tests.savers import TABLES

ALL_TABLES = [*TABLES.values(), "langgraph_threads", "langgraph_ledger"]


def at(thread: str, tenant: str = "") -> Any:
    return {"configurable": {"thread_id": thread, "tenant": tenant, "checkpoint_ns": ""}}


def program(saver: Any) -> Any:
    graph = StateGraph(dict)
    graph.add_node("grow", lambda state: {"text": "x" * 5_000})
    graph.add_edge(START, "grow")
    graph.add_edge("grow", END)
    return graph.compile(checkpointer=saver)


async def rows_of(dsn: str, thread: str) -> dict[str, int]:
    connection = await asyncpg.connect(dsn)
    try:
        return {
            table: await connection.fetchval(
                f"SELECT count(*) FROM ragents_threads.{table} WHERE thread_id = $1", thread
            )
            for table in ALL_TABLES
        }
    finally:
        await connection.close()


async def age(dsn: str, thread: str, seconds: float) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "UPDATE ragents_threads.langgraph_threads SET expires_at = expires_at - make_interval(secs => $2)"
            " WHERE thread_id = $1",
            thread,
            seconds,
        )
    finally:
        await connection.close()


@pytest.fixture
def thread() -> str:
    return f"thread-{uuid.uuid4()}"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"encryption_keys": ["not base64!"]}, "openssl rand -base64 32"),
        ({"encryption_keys": [base64.b64encode(b"short").decode()]}, "5 bytes instead of 32"),
        ({"allowed_types": ["Order"]}, "package.module.Class"),
        ({"ttl_seconds": 0}, "greater than 0"),
        ({"max_checkpoints_per_thread": 0}, "greater than or equal to 1"),
        ({"backend": "sqlite"}, "'postgres', 'redis' or 'memory'"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CheckpointConfig(**settings)


def test_threads_expire_on_redis_and_stay_on_postgres_unless_told() -> None:
    assert CheckpointConfig(backend="redis").ttl_s == 3600
    assert CheckpointConfig().ttl_s is None
    assert CheckpointConfig(ttl_seconds=5).ttl_s == 5


@pytest.mark.parametrize("text", ["plain", "nul\0", "back\\slash", "\\0", "\ud800", "ünï\0\\u1234", ""])
def test_every_id_comes_back(text: str) -> None:
    stored = to_text(text)
    assert "\0" not in stored
    assert from_text(stored.encode().decode()) == text


async def test_an_expired_thread_leaves_nothing_and_a_used_one_stays(migrated: str, postgres: str, thread: str) -> None:
    config = CheckpointConfig(postgres_url=migrated, ttl_seconds=600, sweep_every_s=0.1)
    async with open_thread_state(config) as state:
        await program(state.saver).ainvoke({}, at(thread))
        await state.ledger.begin(ThreadKey("", thread), "call")
        fence = await state.leases.take("", thread, ttl_s=600)
        assert fence is not None
        await state.leases.release("", thread, fence=fence)
        assert all((await rows_of(postgres, thread)).values())
        used = f"{thread}-used"
        await program(state.saver).ainvoke({}, at(used))
        await age(postgres, used, 500)
        await program(state.saver).ainvoke({}, at(used))
        await age(postgres, used, 500)
        await age(postgres, thread, 601)
        async with asyncio.timeout(20):
            while set((await rows_of(postgres, thread)).values()) != {0}:
                await asyncio.sleep(0.02)
        assert (await rows_of(postgres, used))["langgraph_checkpoints"] > 0


async def test_several_sweepers_do_not_disturb_each_other(migrated: str, postgres: str, thread: str) -> None:
    config = CheckpointConfig(postgres_url=migrated, ttl_seconds=0.2, sweep_every_s=600)
    async with open_thread_state(config) as state:
        assert isinstance(state.saver, PostgresCheckpointSaver)
        connections = state.saver.connections
        await asyncio.gather(*(program(state.saver).ainvoke({}, at(f"{thread}-{n}")) for n in range(20)))
        await asyncio.sleep(0.4)
        await asyncio.gather(*(sweep(connections) for _ in range(4)))
        await sweep(connections)
        for n in range(20):
            assert set((await rows_of(postgres, f"{thread}-{n}")).values()) == {0}


async def test_a_thread_that_is_held_is_not_swept(migrated: str, postgres: str, thread: str) -> None:
    config = CheckpointConfig(postgres_url=migrated, ttl_seconds=0.2, sweep_every_s=600)
    async with open_thread_state(config) as state:
        assert isinstance(state.saver, PostgresCheckpointSaver)
        await program(state.saver).ainvoke({}, at(thread))
        assert await state.leases.take("", thread, ttl_s=5) is not None
        await asyncio.sleep(0.4)
        await sweep(state.saver.connections)
        assert (await rows_of(postgres, thread))["langgraph_checkpoints"] > 0


async def test_without_a_tenant_the_serving_role_sees_no_row(migrated: str, thread: str) -> None:
    async with open_thread_state(CheckpointConfig(postgres_url=migrated, ttl_seconds=60)) as state:
        await program(state.saver).ainvoke({}, at(thread, "a"))
        await state.ledger.begin(ThreadKey("a", thread), "call")
    connection = await asyncpg.connect(migrated)
    try:
        for table in ALL_TABLES:
            assert await connection.fetchval(f"SELECT count(*) FROM ragents_threads.{table}") == 0, table
        await connection.execute("SELECT set_config('ragents.tenant', 'a', false)")
        assert await connection.fetchval("SELECT count(*) FROM ragents_threads.langgraph_checkpoints") > 0
    finally:
        await connection.close()


async def test_tables_that_are_missing_say_what_to_run(postgres: str) -> None:
    name = f"bare_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(postgres)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    dsn = postgres.replace("postgres@", f"{APP_ROLE}@", 1).replace("/ragents?", f"/{name}?")
    with pytest.raises(ConfigError, match="ragents db migrate"):
        async with open_thread_state(CheckpointConfig(postgres_url=dsn)):
            pass
    owner = postgres.replace("/ragents?", f"/{name}?")
    saver = await create_checkpoint_saver(CheckpointConfig(postgres_url=owner))
    try:
        await program(saver).ainvoke({}, at("t"))
    finally:
        await close_checkpoint_saver(saver)


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    config = CheckpointConfig(postgres_url="postgresql://nobody:x@127.0.0.1:1/x", connect_timeout_s=2)
    with pytest.raises(BackendUnavailable, match="checkpointer is unavailable"):
        async with open_thread_state(config):
            pass


async def test_connections_that_were_cut_are_unavailable_once_and_then_recover(
    migrated: str, postgres: str, thread: str
) -> None:
    async with open_thread_state(CheckpointConfig(postgres_url=migrated, pool_size=1)) as state:
        await program(state.saver).ainvoke({}, at(thread))
        admin = await asyncpg.connect(postgres)
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND pid <> pg_backend_pid()",
            APP_ROLE,
        )
        await admin.close()
        await asyncio.sleep(0.1)
        for _ in range(2):
            try:
                found = await state.saver.aget_tuple(at(thread))
                break
            except BackendUnavailable:
                continue
        assert found is not None


async def test_a_statement_that_waits_too_long_is_cut_off(migrated: str, postgres: str, thread: str) -> None:
    config = CheckpointConfig(postgres_url=migrated, statement_timeout_s=1)
    async with open_thread_state(config) as state:
        blocker = await asyncpg.connect(postgres)
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE ragents_threads.langgraph_checkpoints IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(BackendUnavailable, match="in time"):
                await state.saver.aget_tuple(at(thread))
        await blocker.close()
        assert await state.saver.aget_tuple(at(thread)) is None


def test_a_program_without_an_event_loop_has_its_threads(tmp_path: Any) -> None:
    with checkpoint_saver(CheckpointConfig(backend="memory")) as saver:
        assert program(saver).invoke({}, at("t"))["text"]


async def test_a_saver_for_life_is_closed_once_and_others_are_left_alone(redis_url: str, thread: str) -> None:
    from langgraph.checkpoint.memory import InMemorySaver

    saver = await create_checkpoint_saver(CheckpointConfig(backend="redis", redis_url=redis_url))
    await program(saver).ainvoke({}, at(thread))
    assert await saver.aget_tuple(at(thread)) is not None
    await close_checkpoint_saver(saver)
    await close_checkpoint_saver(saver)
    await close_checkpoint_saver(InMemorySaver())
