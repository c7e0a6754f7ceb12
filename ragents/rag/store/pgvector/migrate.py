"""The store's schema: pgvector, the roles, the migrations, and the rights of the role that serves."""

import re
from pathlib import Path

import asyncpg

from ragents.errors import ConfigError
from ragents.postgres import migrations as runner
from ragents.postgres.migrations import Migration, migrating, quoted

DIRECTORY = Path(__file__).with_name("migrations")
SCHEMA = "ragents"
MIN_VECTOR_VERSION = (0, 8, 0)
SEARCH_ROLE = "ragents_search"


def load_migrations() -> list[Migration]:
    return runner.load_migrations(DIRECTORY)


async def migrate(
    migrate_dsn: str, *, app_role: str, app_password: str | None = None, migrations: list[Migration] | None = None
) -> list[str]:
    """Bring the schema up to date and give `app_role` (made when missing) its rights; the names of what was applied.

    Several processes may call it at once. ConfigError for an old pgvector, a changed migration or a newer schema.
    """
    async with migrating(migrate_dsn) as connection:
        vector_schema = await _prepare(connection, app_role, app_password)
        applied = await runner.apply(
            connection, SCHEMA, migrations or load_migrations(), replace=("@vector_schema@", vector_schema)
        )
        await _grant(connection, app_role)
        return applied


async def check_schema(connection: asyncpg.Connection) -> None:
    """ConfigError unless the schema is the one that this code was written for."""
    await runner.check(connection, SCHEMA, load_migrations())


def check_vector_version(found: str | None) -> None:
    """ConfigError for a pgvector that lacks the iterative scan."""
    needed = ".".join(map(str, MIN_VECTOR_VERSION))
    if found is None:
        raise ConfigError(f"Postgres has no extension vector; install pgvector {needed} or newer")
    if tuple(int(part) for part in re.findall(r"\d+", found)[:3]) < MIN_VECTOR_VERSION:
        raise ConfigError(
            f"pgvector {found} is too old: {needed} or newer is needed (filtered searches); install it, then run "
            "ALTER EXTENSION vector UPDATE"
        )


async def _prepare(connection: asyncpg.Connection, app_role: str, app_password: str | None) -> str:
    """The schema of the extension vector, once it and the roles are there."""
    await _make_extension(connection)
    await _make_role(connection, SEARCH_ROLE, "NOLOGIN")
    await _become_member(connection, SEARCH_ROLE)
    await _make_role(connection, app_role, "LOGIN", app_password)
    schema: str = await connection.fetchval(
        "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
        "WHERE e.extname = 'vector'"
    )
    return schema


async def _make_extension(connection: asyncpg.Connection) -> None:
    available = await connection.fetchval("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'")
    installed = await connection.fetchval("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    check_vector_version(installed or available)
    if installed is None:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")


async def _make_role(connection: asyncpg.Connection, role: str, login: str, password: str | None = None) -> None:
    if await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
        return
    secret = await connection.fetchval("SELECT quote_literal($1::text)", password) if password else "NULL"
    name = await quoted(connection, role)
    try:
        await connection.execute(f"CREATE ROLE {name} {login} PASSWORD {secret}")
    except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
        return  # roles belong to the whole server: another database's migration was faster


async def _become_member(connection: asyncpg.Connection, role: str) -> None:
    """To hand a function over to a role one must be a member of it, and since Postgres 16 one that may become it:
    there whoever makes a role is a member that may not, until that is granted.
    """
    privilege = "SET" if connection.get_server_version().major >= 16 else "MEMBER"
    if not await connection.fetchval("SELECT pg_has_role(current_user, $1, $2)", role, privilege):
        await connection.execute(f"GRANT {await quoted(connection, role)} TO CURRENT_USER")


async def _grant(connection: asyncpg.Connection, app_role: str) -> None:
    role = await quoted(connection, app_role)
    tables = (
        "ragents.tenants, ragents.collections, ragents.documents, ragents.chunks, ragents.term_counts, "
        "ragents.semantic_answers"
    )
    rows = "ragents.chunk_vectors, ragents.chunk_terms, ragents.term_deltas, ragents.chunk_sentences"
    await connection.execute(
        f"GRANT USAGE ON SCHEMA ragents TO {role};"
        f"GRANT SELECT ON ragents.migrations TO {role};"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {role};"
        f"GRANT SELECT, INSERT, DELETE ON {rows} TO {role};"
        f"GRANT SELECT ON ragents.api_keys, ragents.keys_made TO {role};"  # it makes no keys
        f"GRANT SELECT, INSERT ON ragents.audit_log TO {role};"
        # Terms are counted when they come and go, not when they change: they never do.
        f"GRANT UPDATE (impacts) ON ragents.chunk_terms TO {role};"
    )
    async with connection.transaction():
        # The functions belong to the search role: only as that role may its use be granted.
        await connection.execute(f"SET LOCAL ROLE {SEARCH_ROLE}")
        functions = "ragents.search, ragents.semantic_usage_of_all(), ragents.clear_semantic_answers_of_all()"
        await connection.execute(f"GRANT EXECUTE ON FUNCTION {functions} TO {role}")
