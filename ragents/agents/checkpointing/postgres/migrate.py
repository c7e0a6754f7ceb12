"""The schema ragents_threads, and the rights of the role that serves."""

from pathlib import Path

import asyncpg

from ragents.postgres import migrations as runner
from ragents.postgres.migrations import Migration, migrating, quoted

SCHEMA = "ragents_threads"
TABLES = ("checkpoints", "writes", "blobs", "threads", "ledger", "runs", "events")


def load_migrations() -> list[Migration]:
    return runner.load_migrations(Path(__file__).with_name("migrations"))


async def migrate_threads(migrate_dsn: str, *, app_role: str | None = None) -> list[str]:
    """Bring the schema up to date; the names of what was applied. Several processes may call it at once.

    `app_role`, when it is not the owner itself, may use the tables afterwards. It must exist.
    """
    async with migrating(migrate_dsn) as connection:
        applied = await runner.apply(connection, SCHEMA, load_migrations())
        if app_role is not None:
            await _grant(connection, app_role)
    return applied


async def check_threads(connection: asyncpg.Connection) -> None:
    """ConfigError unless the schema is the one that this code was written for."""
    await runner.check(connection, SCHEMA, load_migrations())


async def _grant(connection: asyncpg.Connection, app_role: str) -> None:
    role = await quoted(connection, app_role)
    tables = ", ".join(f"{SCHEMA}.langgraph_{table}" for table in TABLES)
    await connection.execute(
        f"GRANT USAGE ON SCHEMA {SCHEMA} TO {role};"
        f"GRANT SELECT ON {SCHEMA}.migrations TO {role};"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {role};"
        f"GRANT USAGE ON SEQUENCE {SCHEMA}.fences TO {role};"
    )
