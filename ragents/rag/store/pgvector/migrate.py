"""Migrations: numbered SQL files, each applied once, in order, by the role that owns the schema."""

import asyncio
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from ragents.errors import ConfigError, StoreUnavailable

DIRECTORY = Path(__file__).with_name("migrations")
LOCK = 7_210_431_001
LOCK_WAIT_S = 120.0
CONNECT_TIMEOUT_S = 10.0
MIN_VECTOR_VERSION = (0, 8, 0)
MIN_POSTGRES_VERSION = 14
SEARCH_ROLE = "ragents_search"


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations(directory: Path = DIRECTORY) -> list[Migration]:
    files = sorted(directory.glob("[0-9]*.sql"))
    return [Migration(int(file.stem.split("_")[0]), file.stem, file.read_text(encoding="utf-8")) for file in files]


async def migrate(
    migrate_dsn: str, *, app_role: str, app_password: str | None = None, migrations: list[Migration] | None = None
) -> list[str]:
    """Bring the schema up to date and give `app_role` (made when missing) its rights; the names of what was applied.

    Several processes may call it at once. ConfigError for an old pgvector, a changed migration or a newer schema.
    """
    try:
        connection = await asyncpg.connect(migrate_dsn, timeout=CONNECT_TIMEOUT_S)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise StoreUnavailable(f"cannot connect with store.migrate_dsn: {error}") from error
    try:
        await _lock(connection)
        await _prepare(connection, app_role, app_password)
        applied = await _apply(connection, migrations or load_migrations())
        await _grant(connection, app_role)
        return applied
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigError(
            f"the role of store.migrate_dsn may not do what the migration needs: {error}; use a role that owns the "
            "database and may create roles, and let a superuser run CREATE EXTENSION vector"
        ) from error
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_S)


async def check_schema(connection: asyncpg.Connection) -> None:
    """ConfigError unless the schema is the one that this code was written for."""
    present = await connection.fetchval("SELECT to_regclass('ragents.migrations') IS NOT NULL")
    found = await connection.fetchval("SELECT max(version) FROM ragents.migrations") if present else None
    newest = load_migrations()[-1].version
    if found is None or found < newest:
        raise ConfigError(
            f"the schema is at version {found or 0} and this program needs {newest}; run: ragents db migrate"
        )
    if found > newest:
        raise _newer(found, newest)


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


async def _lock(connection: asyncpg.Connection) -> None:
    try:
        async with asyncio.timeout(LOCK_WAIT_S):
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise StoreUnavailable(f"another process has been migrating for {LOCK_WAIT_S:g} s") from None


async def _prepare(connection: asyncpg.Connection, app_role: str, app_password: str | None) -> None:
    version = connection.get_server_version()
    if version.major < MIN_POSTGRES_VERSION:
        raise ConfigError(f"Postgres {version.major} is too old: {MIN_POSTGRES_VERSION} or newer is needed")
    await _make_extension(connection)
    await _make_role(connection, SEARCH_ROLE, "NOLOGIN")
    await _become_member(connection, SEARCH_ROLE)
    await _make_role(connection, app_role, "LOGIN", app_password)
    await connection.execute("CREATE SCHEMA IF NOT EXISTS ragents")
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS ragents.migrations (version integer PRIMARY KEY, name text NOT NULL, "
        "checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )


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
    name = await _quoted(connection, role)
    try:
        await connection.execute(f"CREATE ROLE {name} {login} PASSWORD {secret}")
    except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
        return  # roles belong to the whole server: another database's migration was faster


async def _become_member(connection: asyncpg.Connection, role: str) -> None:
    """To hand a function over to a role one must be a member of it."""
    if not await connection.fetchval("SELECT pg_has_role(current_user, $1, 'MEMBER')", role):
        await connection.execute(f"GRANT {await _quoted(connection, role)} TO CURRENT_USER")


async def _apply(connection: asyncpg.Connection, migrations: list[Migration]) -> list[str]:
    rows = await connection.fetch("SELECT version, name, checksum FROM ragents.migrations")
    done = {row["version"]: row for row in rows}
    if done and max(done) > migrations[-1].version:
        raise _newer(max(done), migrations[-1].version)
    schema = await connection.fetchval(
        "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
        "WHERE e.extname = 'vector'"
    )
    applied = []
    for migration in migrations:
        if (row := done.get(migration.version)) is not None:
            if row["checksum"] != migration.checksum:
                raise ConfigError(
                    f"migration {migration.name} was changed after it had been applied; restore the file, and put the "
                    "change into a new migration"
                )
            continue
        async with connection.transaction():
            await connection.execute(migration.sql.replace("@vector_schema@", schema))
            await connection.execute(
                "INSERT INTO ragents.migrations (version, name, checksum) VALUES ($1, $2, $3)",
                migration.version,
                migration.name,
                migration.checksum,
            )
        applied.append(migration.name)
    return applied


async def _grant(connection: asyncpg.Connection, app_role: str) -> None:
    role = await _quoted(connection, app_role)
    tables = "ragents.tenants, ragents.collections, ragents.documents, ragents.chunks, ragents.chunk_index"
    await connection.execute(
        f"GRANT USAGE ON SCHEMA ragents TO {role};"
        f"GRANT SELECT ON ragents.migrations TO {role};"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {role};"
        f"GRANT EXECUTE ON FUNCTION ragents.ensure_vector_index TO {role};"
    )
    async with connection.transaction():
        # The function belongs to the search role: only as that role may its use be granted.
        await connection.execute(f"SET LOCAL ROLE {SEARCH_ROLE}")
        await connection.execute(f"GRANT EXECUTE ON FUNCTION ragents.search TO {role}")


async def _quoted(connection: asyncpg.Connection, identifier: str) -> str:
    quoted: str = await connection.fetchval("SELECT quote_ident($1)", identifier)
    return quoted


def _newer(found: int, newest: int) -> ConfigError:
    return ConfigError(f"the schema is at version {found} and this program knows {newest}; install a newer ragents")
