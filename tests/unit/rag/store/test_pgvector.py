"""What only Postgres has: row-level security, roles, migrations, outages, and indexes that are used."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import numpy as np
import pytest

from ragents.deployment.app import APP_ROLE
from ragents.embeddings.hashing import HashingEmbedder
from ragents.errors import ConfigError, StoreUnavailable
from ragents.principal import Principal
from ragents.rag.store import SearchQuery, StoreConfig, open_store
from ragents.rag.store.memory import MemoryVectorStore
from ragents.rag.store.pgvector import PgVectorStore, migrate, open_pgvector
from ragents.rag.store.pgvector.migrate import check_vector_version, load_migrations
from ragents.rag.types import Chunk, Document
from tests.unit.rag.store.plans import plan_of

CHUNKS = ["chunks", "chunk_vectors", "chunk_terms", "chunk_sentences"]
TABLES = ["tenants", "collections", "documents", *CHUNKS, "term_counts", "term_deltas"]
TABLES += ["api_keys", "audit_log", "semantic_answers"]
EMBEDDER = HashingEmbedder()


@pytest.fixture
async def store(migrated: str) -> AsyncIterator[PgVectorStore]:
    async with open_pgvector(migrated, StoreConfig(acquire_timeout_s=2, statement_timeout_s=5)) as opened:
        yield opened


@pytest.fixture
async def database(postgres: str) -> AsyncIterator[str]:
    """The superuser's DSN of a new, empty database."""
    name = f"test_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(postgres)
    await connection.execute(f"CREATE DATABASE {name}")
    yield postgres.replace("/ragents?", f"/{name}?")
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


def as_role(dsn: str, role: str) -> str:
    return dsn.replace("postgres@", f"{role}@", 1)


async def put(store: PgVectorStore | MemoryVectorStore, text: str, principal: Principal, uri: str = "a.md") -> str:
    stored = await store.upsert(
        Document(uri, "t", "md", str(uuid.uuid4())),
        [Chunk(0, text, 0, len(text))],
        await EMBEDDER.embed_documents([text]),
        principal=principal,
        collection="default",
        embedding_model=EMBEDDER.model,
    )
    return stored.document_id


# Roles and tenants


async def test_a_superuser_is_refused_with_the_remedy(postgres: str, migrated: str) -> None:
    with pytest.raises(ConfigError, match=r"'postgres', which is a superuser.*store\.migrate_dsn"):
        async with open_pgvector(postgres, StoreConfig()):
            pass


async def test_an_owner_and_one_who_bypasses_are_refused(postgres: str, migrated: str) -> None:
    connection = await asyncpg.connect(postgres)
    owner = await connection.fetchval("SELECT tableowner FROM pg_tables WHERE schemaname = 'ragents' LIMIT 1")
    for options, words in ((f"IN ROLE {owner}", "owns"), ("BYPASSRLS", "bypasses")):
        role = f"r_{uuid.uuid4().hex}"
        await connection.execute(f"CREATE ROLE {role} LOGIN {options}")
        await connection.execute(
            f"GRANT USAGE ON SCHEMA ragents TO {role}; GRANT SELECT ON ragents.migrations TO {role}"
        )
        with pytest.raises(ConfigError, match=words):
            async with open_pgvector(as_role(postgres, role), StoreConfig()):
                pass
        await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    await connection.close()


async def test_without_a_tenant_the_role_sees_nothing_and_writes_nothing(
    store: PgVectorStore, migrated: str, principal: Principal
) -> None:
    await put(store, "secret", principal)
    connection = await asyncpg.connect(migrated)
    for table in TABLES:
        assert await connection.fetchval(f"SELECT count(*) FROM ragents.{table}") == 0
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("INSERT INTO ragents.tenants (name) VALUES ('x')")
    await connection.close()


async def test_a_tenant_cannot_reach_anothers_rows_by_any_statement(
    store: PgVectorStore, migrated: str, principal: Principal
) -> None:
    document = await put(store, "secret", principal)
    connection = await asyncpg.connect(migrated)
    await connection.execute("SELECT set_config('ragents.tenant', 'intruder', false)")
    for table in TABLES:
        assert await connection.fetchval(f"SELECT count(*) FROM ragents.{table}") == 0
    assert await connection.execute("DELETE FROM ragents.documents WHERE id = $1", uuid.UUID(document)) == "DELETE 0"
    assert await connection.execute("UPDATE ragents.chunks SET body = 'x'") == "UPDATE 0"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(
            "INSERT INTO ragents.chunks (id, tenant, document_id, position, body, start_offset, end_offset) "
            "VALUES (gen_random_uuid(), $1, $2, 9, 'planted', 0, 1)",
            principal.tenant,
            uuid.UUID(document),
        )
    for statement in ("SET ROLE ragents_search", "ALTER TABLE ragents.chunks DISABLE ROW LEVEL SECURITY"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


async def test_every_table_forces_row_level_security(postgres: str, migrated: str) -> None:
    connection = await asyncpg.connect(postgres)
    forced = await connection.fetch(
        "SELECT relname, relrowsecurity AND relforcerowsecurity AS forced FROM pg_class "
        "WHERE relnamespace = 'ragents'::regnamespace AND relkind = 'r' AND relname <> ALL ($1::text[])",
        ["migrations", "keys_made"],  # of no tenant: which migrations there were, and whether there was ever a key
    )
    await connection.close()
    assert {row["relname"]: row["forced"] for row in forced} == dict.fromkeys(TABLES, True)


async def test_a_delete_leaves_not_a_row(store: PgVectorStore, postgres: str, principal: Principal) -> None:
    document = await put(store, "unique-canary-word", principal)
    await store.delete(document, principal=principal)
    connection = await asyncpg.connect(postgres)
    for table in ("documents", "chunks", "chunk_vectors", "chunk_terms", "term_counts", "term_deltas"):
        assert (
            await connection.fetchval(f"SELECT count(*) FROM ragents.{table} WHERE tenant = $1", principal.tenant) == 0
        )
    assert await connection.fetchval("SELECT words FROM ragents.collections WHERE tenant = $1", principal.tenant) == 0
    await connection.close()


# Migrations


async def test_migrations_are_applied_once_by_one_of_several(database: str) -> None:
    applied = await asyncio.gather(*(migrate(database, app_role=APP_ROLE) for _ in range(3)))
    assert sorted(map(len, applied)) == [0, 0, len(load_migrations())]
    async with open_store(StoreConfig(), dsn=as_role(database, APP_ROLE)) as store:
        assert await store.collections(principal=Principal()) == []


async def test_a_changed_migration_is_refused(database: str) -> None:
    await migrate(database, app_role=APP_ROLE)
    first, *rest = load_migrations()
    with pytest.raises(ConfigError, match=r"0001_initial was changed"):
        await migrate(database, app_role=APP_ROLE, migrations=[replace(first, sql=first.sql + "\n-- "), *rest])


async def test_a_newer_schema_is_refused_by_both(database: str) -> None:
    await migrate(database, app_role=APP_ROLE)
    connection = await asyncpg.connect(database)
    await connection.execute("INSERT INTO ragents.migrations (version, name, checksum) VALUES (9999, 'x', 'x')")
    await connection.close()
    with pytest.raises(ConfigError, match=r"9999.*install a newer ragents"):
        await migrate(database, app_role=APP_ROLE)
    with pytest.raises(ConfigError, match="9999"):
        async with open_pgvector(as_role(database, APP_ROLE), StoreConfig()):
            pass


async def test_a_database_that_was_not_migrated_says_what_to_run(database: str, migrated: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("CREATE EXTENSION vector")
    await connection.close()
    with pytest.raises(ConfigError, match="ragents db migrate"):
        async with open_pgvector(as_role(database, APP_ROLE), StoreConfig()):
            pass


async def test_a_role_without_superpowers_can_migrate(database: str) -> None:
    connection = await asyncpg.connect(database)
    role, name = f"owner_{uuid.uuid4().hex}", database.partition("?")[0].rpartition("/")[2]
    await connection.execute(f"CREATE ROLE {role} LOGIN CREATEROLE; ALTER DATABASE {name} OWNER TO {role}")
    await connection.execute("CREATE EXTENSION vector")
    if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = 'ragents_search'"):
        await connection.execute("CREATE ROLE ragents_search NOLOGIN")
    await connection.execute(f"GRANT ragents_search TO {role} WITH ADMIN OPTION")
    app = f"app_{uuid.uuid4().hex}"
    assert len(await migrate(as_role(database, role), app_role=app, app_password="it's")) == len(load_migrations())
    async with open_pgvector(as_role(database, app), StoreConfig()) as store:
        await put(store, "zebra", Principal())
        found = await store.search(
            SearchQuery("zebra", await EMBEDDER.embed_query("zebra"), "default"), principal=Principal()
        )
        assert [source.text for source in found] == ["zebra"]
    await connection.close()


@pytest.mark.parametrize(("found", "words"), [(None, "install pgvector"), ("0.7.4", "too old"), ("0.5", "too old")])
def test_an_old_or_missing_pgvector_is_refused(found: str | None, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_vector_version(found)


@pytest.mark.parametrize("found", ["0.8.0", "0.8.5", "0.10.1", "1.0"])
def test_a_new_enough_pgvector_is_taken(found: str) -> None:
    check_vector_version(found)


# Outages


@pytest.mark.parametrize(
    ("dsn", "kind"),
    [
        ("postgresql://nobody@/x?host=/nowhere", StoreUnavailable),
        ("postgresql://nobody:x@127.0.0.1:1/x", StoreUnavailable),
    ],
)
async def test_a_server_that_is_not_there_is_unavailable(dsn: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="store is unavailable"):
        async with open_pgvector(dsn, StoreConfig(connect_timeout_s=2)):
            pass


async def test_an_unknown_database_is_a_settings_error(migrated: str) -> None:
    with pytest.raises(ConfigError, match="DSN of the store is refused"):
        async with open_pgvector(migrated.replace("/ragents?", "/no_such_database?"), StoreConfig()):
            pass


async def test_connections_that_were_cut_are_unavailable_once_and_then_recover(
    store: PgVectorStore, postgres: str, principal: Principal
) -> None:
    await put(store, "text", principal)
    admin = await asyncpg.connect(postgres)
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", APP_ROLE)
    await admin.close()
    for _ in range(20):
        try:
            assert await store.count(principal=principal) == 1
            break
        except StoreUnavailable as error:
            assert error.retry_after_s > 0
            await asyncio.sleep(0.05)
    else:
        raise AssertionError("the store did not recover")


async def test_an_exhausted_pool_is_unavailable_in_time(migrated: str, principal: Principal) -> None:
    config = StoreConfig(pool_size=1, acquire_timeout_s=0.2)
    async with open_pgvector(migrated, config) as store, store.connections.use():
        with pytest.raises(StoreUnavailable, match="in time"):
            async with asyncio.timeout(20):
                await store.ping()


async def test_a_statement_that_takes_too_long_is_unavailable(migrated: str) -> None:
    async with open_pgvector(migrated, StoreConfig(statement_timeout_s=1)) as store:
        with pytest.raises(StoreUnavailable, match="in time"):
            async with asyncio.timeout(20), store.connections.use() as db:
                await db.execute("SELECT pg_sleep(30)")
        await store.ping()


# Search


async def test_the_index_path_finds_what_the_exact_one_does(migrated: str, postgres: str, principal: Principal) -> None:
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(20, 48))
    vectors = (centres[rng.integers(0, 20, 3_000)] + 0.4 * rng.normal(size=(3_000, 48))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chunks = [Chunk(n, f"text {n}", 0, 1) for n in range(3_000)]
    async with open_pgvector(migrated, StoreConfig(), exact_below=100, migrate_dsn=postgres) as store:
        async with store.bulk(principal=principal, collection="big"):
            await store.upsert(
                Document("a", "t", "md", "h"),
                chunks,
                vectors,
                principal=principal,
                collection="big",
                embedding_model="m",
            )
        exact = PgVectorStore(store.connections, exact_below=10**9)
        hits = 0
        for n in range(20):
            query = SearchQuery("", vectors[n * 100], "big", top_k=10, mode="dense")
            by_index = {s.id for s in await store.search(query, principal=principal)}
            hits += len(by_index & {s.id for s in await exact.search(query, principal=principal)})
        assert hits >= 0.95 * 200
        query = SearchQuery("", vectors[0], "big", top_k=10, mode="dense")
        assert "dense by index" in await plan_of(store, query, principal)
        assert "dense exact over the collection" in await plan_of(exact, query, principal)


async def test_vectors_larger_than_a_page_are_stored_and_found(store: PgVectorStore, principal: Principal) -> None:
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(20, 4_000)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    await store.upsert(
        Document("a", "t", "md", "h"),
        [Chunk(n, f"text {n}", 0, 1) for n in range(20)],
        vectors,
        principal=principal,
        collection="wide",
        embedding_model="m",
    )
    query = SearchQuery("", vectors[7], "wide", top_k=1, mode="dense")
    assert [source.text for source in await store.search(query, principal=principal)] == ["text 7"]


async def test_lexical_scores_rank_as_the_oracles_do(store: PgVectorStore, principal: Principal) -> None:
    """Words that stemming leaves alone, so that both count the same."""
    rng = np.random.default_rng(3)
    words = np.array(["zebra", "lion", "tiger", "walrus", "otter", "falcon", "salmon", "badger", "ferret", "gibbon"])
    weights = 1 / np.arange(1, 11)
    oracle = MemoryVectorStore()
    for n in range(60):
        text = " ".join(rng.choice(words, size=rng.integers(3, 30), p=weights / weights.sum()))
        for each in (store, oracle):
            await put(each, text, principal, uri=f"{n}")
    for question in ("zebra gibbon", "walrus otter ferret", "lion", "badger salmon falcon tiger"):
        query = SearchQuery(question, None, "default", mode="lexical", top_k=50)
        ours = [s.text for s in await store.search(query, principal=principal)]
        theirs = [s.text for s in await oracle.search(query, principal=principal)]
        assert len(ours) == len(theirs)
        assert len(set(ours[:10]) & set(theirs[:10])) >= 9
