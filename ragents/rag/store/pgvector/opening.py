"""open_pgvector: a store that is there, of the right version, and logged in as a role that keeps tenants apart."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import asyncpg

from ragents.errors import ConfigError
from ragents.postgres import Connections, open_connections
from ragents.rag.store.pgvector.codec import register
from ragents.rag.store.pgvector.indexes import EXACT_BELOW
from ragents.rag.store.pgvector.migrate import check_schema, check_vector_version
from ragents.rag.store.pgvector.replica import open_replica
from ragents.rag.store.pgvector.statements import SQL
from ragents.rag.store.pgvector.store import PgVectorStore
from ragents.rag.store.types import StoreConfig


@asynccontextmanager
async def open_pgvector(
    dsn: str, config: StoreConfig, *, exact_below: int = EXACT_BELOW, migrate_dsn: str | None = None
) -> AsyncIterator[PgVectorStore]:
    """The store for the role of `dsn`. ConfigError unless schema, pgvector, language and rights are as they must be."""
    async with AsyncExitStack() as stack:
        connections = await stack.enter_async_context(_open(dsn, config))
        replica = None
        if config.read_dsn is not None:
            read_dsn = config.read_dsn.get_secret_value()
            replica = await stack.enter_async_context(open_replica(lambda: _open(read_dsn, config)))
            await replica.connections(starting=True)
        yield PgVectorStore(
            connections, exact_below=exact_below, language=config.language, migrate_dsn=migrate_dsn, replica=replica
        )


def _open(dsn: str, config: StoreConfig) -> AbstractAsyncContextManager[Connections]:
    settings: dict[str, str] = {}

    async def check(connection: asyncpg.Connection) -> Callable[[asyncpg.Connection], Awaitable[None]]:
        schema = await _check(connection, config.language)
        settings["search_path"] = f"pg_catalog, {schema}"

        async def prepare(each: asyncpg.Connection) -> None:
            await register(each, schema=schema)

        return prepare

    return open_connections(
        dsn,
        component="store",
        pool_size=config.pool_size,
        connect_timeout_s=config.connect_timeout_s,
        acquire_timeout_s=config.acquire_timeout_s,
        statement_timeout_s=config.statement_timeout_s,
        pooler=config.pooler,
        check=check,
        settings=settings,
    )


async def _check(connection: asyncpg.Connection, language: str) -> str:
    """The schema of the extension vector, once everything is as it must be."""
    vector = await connection.fetchrow(SQL["vector_version"])
    check_vector_version(vector["version"] if vector else None)
    await check_schema(connection)
    role = await connection.fetchrow(SQL["own_role"])
    problem = next((word for word in ("superuser", "bypasses", "owner") if role[word]), None)
    if problem is not None:
        is_what = {
            "superuser": "is a superuser",
            "bypasses": "bypasses row-level security",
            "owner": "owns the tables",
        }[problem]
        raise ConfigError(
            f"store.dsn logs in as {role['name']!r}, which {is_what}: tenants would not be kept apart; give store.dsn "
            "a plain role (`ragents db migrate` makes it) and keep this one in store.migrate_dsn"
        )
    languages = [row["name"] for row in await connection.fetch(SQL["languages"])]
    if language not in languages:
        raise ConfigError(f"store.language = {language!r} is unknown to this Postgres; it has: {', '.join(languages)}")
    return str(vector["schema"])
