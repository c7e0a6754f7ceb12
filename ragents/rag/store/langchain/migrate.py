"""The schema ragents_vectors, and the rights of the role that serves."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg

from ragents.errors import ConfigError
from ragents.postgres import migrations as runner
from ragents.postgres.migrations import Migration, migrating, quoted

SCHEMA = "ragents_vectors"


def load_migrations() -> list[Migration]:
    return runner.load_migrations(Path(__file__).with_name("migrations"))


async def migrate_vectors(migrate_dsn: str, *, dsn: str) -> list[str]:
    """Bring the schema up to date and let the role of `dsn`, which exists, use it; the names of what was applied."""
    user = urlsplit(dsn).username
    if not user:
        raise ConfigError("store.dsn names no user; expected postgresql://USER:PASSWORD@HOST/DATABASE")
    async with migrating(migrate_dsn) as connection:
        applied = await runner.apply(connection, SCHEMA, load_migrations())
        role = await quoted(connection, unquote(user))
        await connection.execute(
            f"GRANT USAGE ON SCHEMA {SCHEMA} TO {role};"
            f"GRANT SELECT ON {SCHEMA}.migrations TO {role};"
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON {SCHEMA}.indexed, {SCHEMA}.pending TO {role};"
        )
    return applied


async def check_vectors(connection: asyncpg.Connection) -> None:
    """ConfigError unless the schema is the one that this code was written for."""
    await runner.check(connection, SCHEMA, load_migrations())
