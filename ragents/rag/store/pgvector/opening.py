"""open_pgvector: a store that is there, of the right version, and logged in as a role that keeps tenants apart."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from ragents.errors import ConfigError, StoreUnavailable
from ragents.rag.store.pgvector.codec import register
from ragents.rag.store.pgvector.migrate import check_schema, check_vector_version
from ragents.rag.store.pgvector.rows import reason_of
from ragents.rag.store.pgvector.store import EXACT_BELOW, SQL, PgVectorStore
from ragents.rag.store.types import StoreConfig


@asynccontextmanager
async def open_pgvector(
    dsn: str, config: StoreConfig, *, exact_below: int = EXACT_BELOW
) -> AsyncIterator[PgVectorStore]:
    """The store for the role of `dsn`. ConfigError unless schema, pgvector and its rights are as they must be."""
    try:
        checked = await asyncpg.connect(dsn, timeout=config.connect_timeout_s)
    except (asyncpg.InvalidCatalogNameError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        raise ConfigError(f"store.dsn is refused by Postgres: {error}; correct user, password or database") from error
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise StoreUnavailable(f"no connection to Postgres ({reason_of(error)})") from error
    try:
        schema = await _check(checked)
    finally:
        await checked.close(timeout=config.connect_timeout_s)

    async def prepare(connection: asyncpg.Connection) -> None:
        await register(connection, schema=schema)

    pool = await asyncpg.create_pool(
        dsn,
        min_size=0,  # with a floor asyncpg logs a trace for every second of an outage
        max_size=config.pool_size,
        timeout=config.connect_timeout_s,
        max_inactive_connection_lifetime=300,
        init=prepare,
        server_settings={
            "statement_timeout": str(int(config.statement_timeout_s * 1000)),
            "search_path": f"pg_catalog, {schema}",
            "application_name": "ragents",
        },
    )
    store = PgVectorStore(pool, config, exact_below=exact_below)
    try:
        yield store
    finally:
        await store.close()


async def _check(connection: asyncpg.Connection) -> str:
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
    return str(vector["schema"])
