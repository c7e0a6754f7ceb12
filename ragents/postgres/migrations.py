"""Migrations: numbered SQL files of a schema, each applied once, in order, by the role that owns it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from ragents.errors import ConfigError, StoreUnavailable

LOCK = 7_210_431_001
LOCK_WAIT_S = 120.0
CONNECT_TIMEOUT_S = 10.0
MIN_POSTGRES_VERSION = 14
HAND_OVER = "deploy/postgres/hand_over.sql (docs/scaling.md)"
FOREIGN_SCHEMAS = """
    SELECT n.nspname AS schema, pg_get_userbyid(n.nspowner) AS owner FROM pg_namespace n
    WHERE n.nspname IN ('ragents', 'ragents_threads', 'ragents_vectors')
        AND NOT pg_has_role(current_user, n.nspowner, 'USAGE')
    ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations(directory: Path) -> list[Migration]:
    files = sorted(directory.glob("[0-9]*.sql"))
    return [Migration(int(file.stem.split("_")[0]), file.stem, file.read_text(encoding="utf-8")) for file in files]


@asynccontextmanager
async def migrating(migrate_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that no other process migrates beside. ConfigError for a role that may not do what is needed."""
    try:
        connection = await asyncpg.connect(migrate_dsn, timeout=CONNECT_TIMEOUT_S)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise StoreUnavailable(f"cannot connect with store.migrate_dsn: {error}") from error
    try:
        version = connection.get_server_version()
        if version.major < MIN_POSTGRES_VERSION:
            raise ConfigError(f"Postgres {version.major} is too old: {MIN_POSTGRES_VERSION} or newer is needed")
        await _lock(connection)
        yield connection
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigError(
            f"the role of store.migrate_dsn may not do what the migration needs: {error}; {await _remedy(connection)}"
        ) from error
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_S)


async def apply(
    connection: asyncpg.Connection,
    schema: str,
    migrations: Sequence[Migration],
    *,
    replace: tuple[str, str] | None = None,
) -> list[str]:
    """Make the schema and apply what is new; the names of it. `replace`: a placeholder of the files and its text."""
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    await connection.execute(
        f"CREATE TABLE IF NOT EXISTS {schema}.migrations (version integer PRIMARY KEY, name text NOT NULL, "
        "checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    rows = await connection.fetch(f"SELECT version, name, checksum FROM {schema}.migrations")
    done = {row["version"]: row for row in rows}
    if done and max(done) > migrations[-1].version:
        raise _newer(schema, max(done), migrations[-1].version)
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
            await connection.execute(migration.sql.replace(*replace) if replace else migration.sql)
            await connection.execute(
                f"INSERT INTO {schema}.migrations (version, name, checksum) VALUES ($1, $2, $3)",
                migration.version,
                migration.name,
                migration.checksum,
            )
        applied.append(migration.name)
    return applied


async def check(connection: asyncpg.Connection, schema: str, migrations: Sequence[Migration]) -> None:
    """ConfigError unless the schema is the one that this code was written for."""
    present = await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{schema}.migrations")
    found = await connection.fetchval(f"SELECT max(version) FROM {schema}.migrations") if present else None
    newest = migrations[-1].version
    if found is None or found < newest:
        raise ConfigError(
            f"the schema {schema} is at version {found or 0} and this program needs {newest}; run: ragents db migrate"
        )
    if found > newest:
        raise _newer(schema, found, newest)


async def quoted(connection: asyncpg.Connection, identifier: str) -> str:
    text: str = await connection.fetchval("SELECT quote_ident($1)", identifier)
    return text


async def _lock(connection: asyncpg.Connection) -> None:
    try:
        async with asyncio.timeout(LOCK_WAIT_S):
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise StoreUnavailable(f"another process has been migrating for {LOCK_WAIT_S:g} s") from None


async def _remedy(connection: asyncpg.Connection) -> str:
    """What helps a role that was refused; the transaction in which it was is over."""
    try:
        foreign = await connection.fetch(FOREIGN_SCHEMAS, timeout=CONNECT_TIMEOUT_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        foreign = []  # the refusal is what is to be told, not that the server went away after it
    if foreign:
        schemas = ", ".join(f"the schema {row['schema']} belongs to {row['owner']}" for row in foreign)
        return f"{schemas}, as after restoring a superuser's dump: a superuser hands them over with {HAND_OVER}"
    return "use a role that owns the database and may create roles, and let a superuser run CREATE EXTENSION vector"


def _newer(schema: str, found: int, newest: int) -> ConfigError:
    return ConfigError(
        f"the schema {schema} is at version {found} and this program knows {newest}; install a newer ragents"
    )
