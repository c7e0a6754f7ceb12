"""Every store of keys behaves the same; the one on Postgres keeps tenants apart."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from ragents.deployment.keys import AuditEntry, KeyLimits, KeyOwner, KeyStore, MemoryKeys
from ragents.deployment.keys.postgres import SQL, PostgresAudit, PostgresKeys
from ragents.deployment.keys.types import KEY, hash_of, now
from ragents.deployment.rate_limiting import Limits, Priority
from ragents.errors import InputError, NotFound
from ragents.postgres import Connections, open_connections


async def _no_check(_: asyncpg.Connection) -> None: ...


def connections(dsn: str) -> "object":
    return open_connections(
        dsn,
        component="store",
        pool_size=2,
        connect_timeout_s=10,
        acquire_timeout_s=5,
        statement_timeout_s=5,
        check=_no_check,
    )


@pytest.fixture
async def serving(migrated: str) -> AsyncIterator[Connections]:
    """As the role that serves."""
    async with connections(migrated) as opened:  # type: ignore[attr-defined]
        yield opened


@pytest.fixture
async def owning(migrated: str, postgres: str) -> AsyncIterator[Connections]:
    async with connections(postgres) as opened:  # type: ignore[attr-defined]
        yield opened


@pytest.fixture(params=["memory", "postgres"])
def keys(request: pytest.FixtureRequest) -> KeyStore:
    return MemoryKeys() if request.param == "memory" else PostgresKeys(request.getfixturevalue("owning"))


@pytest.fixture
def owner() -> KeyOwner:
    return KeyOwner(
        f"tenant-{uuid.uuid4()}",
        "ann",
        "admin",
        "her laptop",
        Priority.CRITICAL,
        KeyLimits(burst_size=3, cost_usd_per_day=0.5),
        2.5,
    )


async def test_an_unknown_key_is_not_found(keys: KeyStore) -> None:
    assert await keys.find("0" * 12) is None
    for change in (keys.revoke("0" * 12, actor="x"), keys.rotate("0" * 12, grace=timedelta(), actor="x")):
        with pytest.raises(NotFound, match="no key '000000000000'"):
            await change


async def test_a_key_is_found_as_it_was_made_and_without_its_secret(keys: KeyStore, owner: KeyOwner) -> None:
    stored, text = await keys.create(owner, lasts=timedelta(days=1), actor="operator")
    match = KEY.match(text)
    assert match is not None
    assert (match[1], hash_of(match[2])) == (stored.id, stored.secret_hash)
    assert match[2] not in repr(stored)
    assert await keys.find(stored.id) == stored
    assert stored.owner == owner
    assert await keys.any()
    assert stored.expires_at is not None
    assert abs(stored.expires_at - now() - timedelta(days=1)) < timedelta(minutes=1)


async def test_a_key_s_limits_stand_over_those_of_the_service(keys: KeyStore, owner: KeyOwner) -> None:
    stored, _ = await keys.create(owner, lasts=None, actor="operator")
    caller = stored.caller(Limits(requests_per_minute=7))
    assert caller.limits == Limits(requests_per_minute=7, burst_size=3, cost_usd_per_day=0.5)
    assert (caller.principal.tenant, caller.principal.user, caller.principal.role) == (owner.tenant, "ann", "admin")
    assert (caller.max_priority, caller.weight, caller.key) == (Priority.CRITICAL, 2.5, stored.id)


async def test_a_list_is_one_tenant_s(keys: KeyStore, owner: KeyOwner) -> None:
    first, _ = await keys.create(owner, lasts=None, actor="operator")
    await keys.create(KeyOwner(f"tenant-{uuid.uuid4()}", "ann"), lasts=None, actor="operator")
    second, _ = await keys.create(KeyOwner(owner.tenant, "bob"), lasts=None, actor="operator")
    assert [each.id for each in await keys.list(owner.tenant)] == [first.id, second.id]


async def test_a_revoked_key_says_so_and_stays_so(keys: KeyStore, owner: KeyOwner) -> None:
    stored, _ = await keys.create(owner, lasts=None, actor="operator")
    assert stored.state(now()) == "active"
    revoked = await keys.revoke(stored.id, actor="operator")
    assert revoked.state(now()) == "revoked"
    assert (await keys.revoke(stored.id, actor="operator")).revoked_at == revoked.revoked_at
    assert await keys.find(stored.id) == revoked


async def test_a_key_that_has_ended_gets_no_successor(keys: KeyStore, owner: KeyOwner) -> None:
    revoked, _ = await keys.create(owner, lasts=None, actor="operator")
    await keys.revoke(revoked.id, actor="operator")
    rotated, _ = await keys.create(owner, lasts=None, actor="operator")
    await keys.rotate(rotated.id, grace=timedelta(), actor="operator")
    for old, state in ((revoked, "revoked"), (rotated, "expired")):
        with pytest.raises(InputError, match=f"is {state}; make a new one"):
            await keys.rotate(old.id, grace=timedelta(days=1), actor="operator")
    assert len(await keys.list(owner.tenant)) == 3


async def test_a_key_that_is_revoked_while_it_rotates_gets_no_successor(owning: Connections, owner: KeyOwner) -> None:
    keys = PostgresKeys(owning)
    stored, _ = await keys.create(owner, lasts=None, actor="operator")
    async with owning.use(20) as db, db.transaction():
        await db.execute(SQL["set_tenant"], owner.tenant)
        await db.fetchrow(SQL["revoke"], owner.tenant, stored.id)
        rotating = asyncio.create_task(keys.rotate(stored.id, grace=timedelta(days=1), actor="operator"))
        while not await db.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
    with pytest.raises(InputError, match="has just ended"):
        await rotating
    assert [each.id for each in await keys.list(owner.tenant)] == [stored.id]


async def test_a_rotated_key_ends_after_its_grace_and_the_new_one_has_its_rights(
    keys: KeyStore, owner: KeyOwner
) -> None:
    old, _ = await keys.create(owner, lasts=timedelta(days=1), actor="operator")
    fresh, text = await keys.rotate(old.id, grace=timedelta(hours=1), actor="operator")
    ended = await keys.find(old.id)
    assert ended is not None
    assert ended.expires_at is not None
    assert ended.state(now()) == "active"
    assert ended.state(now() + timedelta(hours=1, minutes=1)) == "expired"
    assert (fresh.owner, fresh.id != old.id, fresh.id in text) == (owner, True, True)
    assert fresh.expires_at is not None
    assert fresh.expires_at - fresh.created_at == pytest.approx(timedelta(days=1), abs=timedelta(seconds=1))


async def test_a_key_is_rotated_again_only_when_its_successor_has_ended(keys: KeyStore, owner: KeyOwner) -> None:
    old, _ = await keys.create(owner, lasts=None, actor="operator")
    fresh, _ = await keys.rotate(old.id, grace=timedelta(hours=1), actor="operator")
    ends = await keys.find(old.id)
    with pytest.raises(InputError, match=f"rotated already, and '{fresh.id}' is in force"):
        await keys.rotate(old.id, grace=timedelta(minutes=1), actor="operator")
    assert (await keys.find(old.id), len(await keys.list(owner.tenant))) == (ends, 2)
    await keys.revoke(fresh.id, actor="operator")
    other, _ = await keys.rotate(old.id, grace=timedelta(hours=1), actor="operator")
    assert other.state(now()) == "active"


async def test_a_grace_does_not_let_a_key_live_longer(keys: KeyStore, owner: KeyOwner) -> None:
    old, _ = await keys.create(owner, lasts=timedelta(minutes=1), actor="operator")
    await keys.rotate(old.id, grace=timedelta(days=7), actor="operator")
    ended = await keys.find(old.id)
    assert ended is not None
    assert ended.expires_at == old.expires_at


# On Postgres


async def test_the_role_that_serves_finds_keys_by_id_and_can_neither_make_nor_change_nor_list_them(
    serving: Connections, owning: Connections, owner: KeyOwner
) -> None:
    stored, _ = await PostgresKeys(owning).create(owner, lasts=None, actor="operator")
    keys = PostgresKeys(serving)
    assert await keys.find(stored.id) == stored
    assert await keys.any()
    for change in (
        keys.create(owner, lasts=None, actor="x"),
        keys.revoke(stored.id, actor="x"),
        keys.rotate(stored.id, grace=timedelta(), actor="x"),
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await change
    async with serving.use() as db:
        assert await db.fetch("SELECT * FROM ragents.api_keys") == []
        async with db.transaction():
            await db.execute("SELECT set_config('ragents.key_id', $1, true)", stored.id)
            assert len(await db.fetch("SELECT * FROM ragents.api_keys")) == 1


async def test_what_is_done_to_keys_is_in_the_audit_log_of_their_tenant(
    serving: Connections, owning: Connections, owner: KeyOwner, caplog: pytest.LogCaptureFixture
) -> None:
    keys = PostgresKeys(owning)
    with caplog.at_level("INFO", logger="ragents.audit"):
        stored, text = await keys.create(owner, lasts=None, actor="operator")
        fresh, _ = await keys.rotate(stored.id, grace=timedelta(), actor="operator")
        await keys.revoke(fresh.id, actor="operator")
    query = "SELECT action, actor, target FROM ragents.audit_log ORDER BY id"
    async with serving.use() as db, db.transaction():
        assert await db.fetch(query) == []
        await db.execute("SELECT set_config('ragents.tenant', $1, true)", owner.tenant)
        found = [tuple(row) for row in await db.fetch(query)]
    assert found == [
        ("keys.create", "operator", stored.id),
        ("keys.rotate", "operator", stored.id),
        ("keys.revoke", "operator", fresh.id),
    ]
    assert text.rpartition("_")[2] not in caplog.text


async def test_the_audit_log_can_only_be_added_to_and_only_one_s_own(serving: Connections) -> None:
    tenant = f"tenant-{uuid.uuid4()}"
    await PostgresAudit(serving).record(AuditEntry(tenant, "ann", "cache.clear", "all", {"key": "k"}, "r-1"))
    async with serving.use() as db, db.transaction():
        await db.execute("SELECT set_config('ragents.tenant', $1, true)", tenant)
        row = await db.fetchrow("SELECT * FROM ragents.audit_log")
        assert (row["target"], json.loads(row["details"]), row["request_id"]) == ("all", {"key": "k"}, "r-1")
    for change in ("UPDATE ragents.audit_log SET actor = 'eve'", "DELETE FROM ragents.audit_log"):
        async with serving.use() as db:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await db.execute(change)
    async with serving.use() as db:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await db.execute(
                "INSERT INTO ragents.audit_log (tenant, actor, action, target) VALUES ('other', 'a', 'b', 'c')"
            )
