"""Searches on a replica: used, left alone when down, and never older than what this process knows."""

import logging
import uuid
from collections.abc import AsyncIterator

import asyncpg
import numpy as np
import pytest
from pydantic import SecretStr

from ragents.deployment.app import APP_ROLE, migrate_all
from ragents.errors import ConfigError, NotFound, StoreUnavailable
from ragents.principal import Principal
from ragents.rag.store import SearchQuery, StoreConfig
from ragents.rag.store.pgvector import PgVectorStore, open_pgvector
from ragents.rag.types import Chunk, Document

QUERY = SearchQuery("zebra", np.ones(4, np.float32) / 2, "c")


@pytest.fixture
async def behind(postgres: str) -> AsyncIterator[str]:
    """DSN of a second database that holds nothing yet: a replica that has replayed nothing."""
    name = f"replica_{uuid.uuid4().hex}"
    admin = await asyncpg.connect(postgres)
    await admin.execute(f"CREATE DATABASE {name}")
    owner = postgres.replace("/ragents?", f"/{name}?")
    dsn = owner.replace("postgres@", f"{APP_ROLE}@", 1)
    await migrate_all(owner, dsn=dsn)
    yield dsn
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


async def put(store: PgVectorStore, principal: Principal, text: str) -> None:
    await store.upsert(
        Document("a", "t", "md", str(uuid.uuid4())),
        [Chunk(0, text, 0, 1)],
        QUERY.embedding[None, :],
        principal=principal,
        collection="c",
        embedding_model="m",
    )


async def found(store: PgVectorStore, principal: Principal) -> list[str]:
    return [source.text for source in await store.search(QUERY, principal=principal)]


async def test_a_replica_that_is_down_at_the_start_is_named_and_the_primary_asked(
    migrated: str, principal: Principal, caplog: pytest.LogCaptureFixture
) -> None:
    config = StoreConfig(read_dsn=SecretStr("postgresql://nobody@/x?host=/nowhere"), connect_timeout_s=2)
    with caplog.at_level(logging.WARNING):
        async with open_pgvector(migrated, config) as store:
            await put(store, principal, "zebra")
            assert await found(store, principal) == ["zebra"]
    assert "store.read_dsn" in caplog.text


async def test_a_replica_with_a_role_that_sees_all_tenants_is_refused(migrated: str, postgres: str) -> None:
    with pytest.raises(ConfigError, match="superuser"):
        async with open_pgvector(migrated, StoreConfig(read_dsn=SecretStr(postgres))):
            pass


async def test_a_replica_without_the_collection_is_no_proof_that_there_is_none(
    migrated: str, behind: str, principal: Principal
) -> None:
    async with open_pgvector(migrated, StoreConfig(read_dsn=SecretStr(behind))) as store:
        with pytest.raises(NotFound):
            await found(store, principal)
        await put(store, principal, "zebra")
        assert await found(store, principal) == ["zebra"]


async def test_a_replica_behind_a_change_of_this_process_is_passed_over(
    migrated: str, behind: str, principal: Principal
) -> None:
    async with open_pgvector(behind, StoreConfig()) as old:
        await put(old, principal, "old zebra")
    async with open_pgvector(migrated, StoreConfig(read_dsn=SecretStr(behind))) as store:
        await put(store, principal, "zebra 1")
        assert await found(store, principal) == ["old zebra"]  # as new as anything known: epoch 1
        await put(store, principal, "zebra 2")
        assert await found(store, principal) == ["zebra 2"]


async def test_a_change_by_another_process_counts_once_the_collection_was_read(
    migrated: str, behind: str, principal: Principal
) -> None:
    async with open_pgvector(behind, StoreConfig()) as old:
        await put(old, principal, "old zebra")
    async with open_pgvector(migrated, StoreConfig()) as other:
        await put(other, principal, "zebra 1")
        await put(other, principal, "zebra 2")
    async with open_pgvector(migrated, StoreConfig(read_dsn=SecretStr(behind))) as store:
        await store.collection("c", principal=principal)
        assert await found(store, principal) == ["zebra 2"]


async def test_a_replica_that_goes_away_costs_one_search_some_time_and_no_answer(
    migrated: str, behind: str, postgres: str, principal: Principal, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_pgvector(behind, StoreConfig()) as old:
        await put(old, principal, "old zebra")
    async with open_pgvector(migrated, StoreConfig(read_dsn=SecretStr(behind))) as store:
        await put(store, principal, "zebra")
        assert await found(store, principal) == ["old zebra"]
        admin = await asyncpg.connect(postgres)
        name = behind.partition("?")[0].rpartition("/")[2]
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        with caplog.at_level(logging.WARNING):
            assert await found(store, principal) == ["zebra"]
            assert await found(store, principal) == ["zebra"]
        assert caplog.text.count("is not used for") == 1
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await admin.close()


async def test_a_primary_that_is_down_beside_its_replica_is_unavailable(migrated: str) -> None:
    config = StoreConfig(read_dsn=SecretStr(migrated), connect_timeout_s=2)
    with pytest.raises(StoreUnavailable):
        async with open_pgvector("postgresql://nobody@/x?host=/nowhere", config):
            pass
