"""What a role that may not migrate is told."""

import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from ragents.errors import ConfigError
from ragents.postgres.migrations import Migration, apply, migrating

MIGRATIONS = [Migration(1, "0001_first", "CREATE TABLE ragents.first (id integer)")]


@pytest.fixture
async def empty(postgres: str) -> AsyncIterator[tuple[str, str]]:
    """The superuser's DSN of a new database, and that of an ordinary role there."""
    name = f"refused_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(postgres)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.execute(f"CREATE ROLE {name} LOGIN")
    dsn = postgres.replace("/ragents?", f"/{name}?")
    yield dsn, dsn.replace("postgres@", f"{name}@", 1)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.execute(f"DROP ROLE {name}")
    await connection.close()


async def migrate(dsn: str) -> list[str]:
    async with migrating(dsn) as connection:
        return await apply(connection, "ragents", MIGRATIONS)


async def test_a_role_without_the_database_is_told_which_one_to_use(empty: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="a role that owns the database and may create roles"):
        await migrate(empty[1])


async def test_a_role_that_meets_a_foreign_schema_is_told_whose_it_is(empty: tuple[str, str]) -> None:
    superuser, ordinary = empty
    assert await migrate(superuser) == ["0001_first"]
    with pytest.raises(ConfigError, match=r"the schema ragents belongs to postgres.*hand_over\.sql"):
        await migrate(ordinary)
    assert await migrate(superuser) == []  # the lock was given back


async def test_a_server_that_goes_away_after_the_refusal_does_not_hide_it(empty: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="permission denied for tried; use a role that owns the database"):
        async with migrating(empty[0]) as connection:
            connection.terminate()
            raise asyncpg.InsufficientPrivilegeError("permission denied for tried")
