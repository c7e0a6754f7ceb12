"""Keys and the audit log in the store's Postgres, one tenant per transaction."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import asyncpg

from ragents.deployment.keys.audit import say
from ragents.deployment.keys.types import (
    AuditEntry,
    KeyLimits,
    KeyOwner,
    StoredKey,
    check_active,
    has_successor,
    new_key,
    now,
)
from ragents.deployment.rate_limiting.types import Priority
from ragents.errors import InputError, NotFound
from ragents.postgres.connections import Connections
from ragents.postgres.queries import load_queries

SQL = load_queries(Path(__file__).with_name("queries.sql"))
STATEMENTS = 7
"""At most, in one transaction here."""


class PostgresKeys:
    """A KeyStore. `any` and `find` work as the role that serves; the others need the role that owns the tables."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def any(self) -> bool:
        async with self._connections.use() as db:
            return bool(await db.fetchval(SQL["made"]))

    async def find(self, key_id: str) -> StoredKey | None:
        async with self._connections.use(2 * self._connections.statement_timeout_s) as db, db.transaction():
            await db.execute(SQL["set_key"], key_id)
            row = await db.fetchrow(SQL["find"], key_id)
        return None if row is None else _stored(row)

    async def create(self, owner: KeyOwner, *, lasts: timedelta | None, actor: str) -> tuple[StoredKey, str]:
        async with self._as(owner.tenant) as db:
            stored, text = await _create(db, owner, lasts)
            await write(db, AuditEntry(owner.tenant, actor, "keys.create", stored.id, _about(owner)))
            return stored, text

    async def list(self, tenant: str) -> list[StoredKey]:
        async with self._as(tenant) as db:
            return [_stored(row) for row in await db.fetch(SQL["list"], tenant)]

    async def revoke(self, key_id: str, *, actor: str) -> StoredKey:
        tenant = (await self._known(key_id)).owner.tenant
        async with self._as(tenant) as db:
            row = await db.fetchrow(SQL["revoke"], tenant, key_id)
            await write(db, AuditEntry(tenant, actor, "keys.revoke", key_id))
            return _stored(row)

    async def rotate(self, key_id: str, *, grace: timedelta, actor: str) -> tuple[StoredKey, str]:
        old = await self._known(key_id)
        check_active(old)
        lasts = None if old.expires_at is None else old.expires_at - old.created_at
        async with self._as(old.owner.tenant) as db:
            if await db.fetchrow(SQL["expire"], old.owner.tenant, key_id, grace) is None:
                raise InputError(f"key {key_id!r} has just ended; make a new one", field="key")
            # After `expire`, which waits for another rotation of this key to end.
            if (successor := await db.fetchval(SQL["successor"], old.owner.tenant, key_id)) is not None:
                raise has_successor(key_id, successor)
            stored, text = await _create(db, old.owner, lasts)
            details = {"new": stored.id, "grace_s": grace.total_seconds()}
            await write(db, AuditEntry(old.owner.tenant, actor, "keys.rotate", key_id, details))
            return stored, text

    async def _known(self, key_id: str) -> StoredKey:
        if (found := await self.find(key_id)) is None:
            raise NotFound("key", key_id)
        return found

    @asynccontextmanager
    async def _as(self, tenant: str) -> AsyncIterator[asyncpg.Connection]:
        limit_s = STATEMENTS * self._connections.statement_timeout_s
        async with self._connections.use(limit_s) as db, db.transaction():
            await db.execute(SQL["set_tenant"], tenant)
            yield db


class PostgresAudit:
    """An Audit that keeps its entries."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def record(self, entry: AuditEntry) -> None:
        async with self._connections.use(3 * self._connections.statement_timeout_s) as db, db.transaction():
            await db.execute(SQL["set_tenant"], entry.tenant)
            await write(db, entry)


async def write(db: asyncpg.Connection, entry: AuditEntry) -> None:
    """Into the log of the tenant that the transaction has set, and into the process's log."""
    details = json.dumps(dict(entry.details))
    await db.execute(SQL["audit"], entry.tenant, entry.actor, entry.action, entry.target, details, entry.request_id)
    say(entry)


async def _create(db: asyncpg.Connection, owner: KeyOwner, lasts: timedelta | None) -> tuple[StoredKey, str]:
    key_id, digest, text = new_key()
    await db.execute(SQL["make_tenant"], owner.tenant)
    await db.execute(SQL["count_made"])
    row = await db.fetchrow(
        SQL["create"],
        key_id,
        owner.tenant,
        owner.user,
        owner.role,
        owner.note,
        digest,
        owner.max_priority.value,
        owner.limits.model_dump_json(exclude_none=True),
        owner.weight,
        None if lasts is None else now() + lasts,
    )
    return _stored(row), text


def _stored(row: asyncpg.Record) -> StoredKey:
    limits = row["limits"]
    owner = KeyOwner(
        row["tenant"],
        row["user_name"],
        row["role"],
        row["note"],
        Priority(row["max_priority"]),
        KeyLimits.model_validate_json(limits) if isinstance(limits, str) else KeyLimits.model_validate(limits),
        row["weight"],
    )
    return StoredKey(
        row["id"], owner, bytes(row["secret_hash"]), row["created_at"], row["expires_at"], row["revoked_at"]
    )


def _about(owner: KeyOwner) -> dict[str, object]:
    return {"user": owner.user, "role": owner.role, "max_priority": owner.max_priority.value}
