"""Threads in Postgres: made by one of several, kept over a restart, read back strictly."""

import asyncio
import uuid
from collections import Counter

import psycopg
import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ragents.agents import Turn
from ragents.agents.checkpointing import CheckpointConfig, open_checkpoint_saver
from ragents.agents.checkpointing.postgres import migrate_checkpoints
from ragents.agents.simple import SimpleAgent
from ragents.deployment.app import APP_ROLE
from ragents.errors import BackendUnavailable, ConfigError
from ragents.principal import Principal
from tests.doubles import make_engine

CONFIG = CheckpointConfig()


async def test_without_an_address_it_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match="checkpoint.postgres_url"):
        async with open_checkpoint_saver(CONFIG):
            pass


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(BackendUnavailable, match="checkpointer"):
        async with open_checkpoint_saver(CheckpointConfig(connect_timeout_s=1), dsn="postgresql://x@127.0.0.1:1/x"):
            pass


async def test_a_database_without_the_tables_says_what_to_run(postgres: str, migrated: str) -> None:
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]  # a name of our own
    with pytest.raises(ConfigError, match="ragents db migrate"):
        async with open_checkpoint_saver(CONFIG, dsn=migrated.replace("/ragents?", f"/{name}?")):
            pass


async def test_several_processes_may_migrate_at_once(postgres: str, migrated: str) -> None:
    await asyncio.gather(*(migrate_checkpoints(postgres, app_role=APP_ROLE) for _ in range(3)))


async def test_a_thread_is_there_for_the_next_process(migrated: str, principal: Principal) -> None:
    turn = Turn(principal=principal)
    engine = await make_engine()
    assert engine.llm is not None
    async with open_checkpoint_saver(CONFIG, dsn=migrated) as saver:
        agent = SimpleAgent(llm_client=engine.llm, rag_engine=engine, checkpointer=saver)
        from tests.doubles import add_document

        await add_document(engine, "a.md", ["Batching sits at the encoder."], principal=principal)
        first = await agent.process_message("Where is batching?", thread_id="t", turn=turn)
    async with open_checkpoint_saver(CONFIG, dsn=migrated) as saver:
        agent = SimpleAgent(llm_client=engine.llm, rag_engine=engine, checkpointer=saver)
        history = await agent.history("t", principal=principal)
        assert [message.content for message in history] == ["Where is batching?", first.answer]
        await agent.append_turn("Again?", first.response, thread_id="t", principal=principal)
        assert len(await agent.history("t", principal=principal)) == 4
        assert await agent.history("t", principal=Principal("other")) == []


async def test_a_forged_row_runs_nothing(migrated: str) -> None:
    import ormsgpack

    async with open_checkpoint_saver(CONFIG, dsn=migrated) as saver:
        assert isinstance(saver, AsyncPostgresSaver)
        forged = ormsgpack.packb(ormsgpack.Ext(0, ormsgpack.packb(("collections", "Counter", ["x"]))))
        assert isinstance(JsonPlusSerializer(allowed_msgpack_modules=True).loads_typed(("msgpack", forged)), Counter)
        assert not isinstance(saver.serde.loads_typed(("msgpack", forged)), Counter)
        safe = saver.serde.loads_typed(saver.serde.dumps_typed(HumanMessage("hello")))
        assert safe.content == "hello"
