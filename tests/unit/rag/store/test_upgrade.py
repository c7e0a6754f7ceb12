"""What was stored under the schema of the first release is searched after the newest migration."""

import uuid
from collections.abc import AsyncIterator

import asyncpg
import numpy as np
import pytest

from ragents.postgres import migrations as runner
from ragents.principal import Principal
from ragents.rag.store import SearchQuery, StoreConfig
from ragents.rag.store.pgvector import migrate, open_pgvector
from ragents.rag.store.pgvector.migrate import load_migrations

OWNER, OTHER = Principal("old tenant"), Principal("other tenant")
TEXTS = ["zebras graze quietly", "the lion sleeps", "zebras and lions", ""]


@pytest.fixture
async def database(postgres: str) -> AsyncIterator[str]:
    """Owned by a role that row-level security holds for, with the first two migrations and two tenants' documents."""
    admin = await asyncpg.connect(postgres)
    name, role = f"test_{uuid.uuid4().hex}", f"owner_{uuid.uuid4().hex}"
    await admin.execute(f"CREATE ROLE {role} LOGIN CREATEROLE")
    await admin.execute(f"CREATE DATABASE {name} OWNER {role}")
    if not await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = 'ragents_search'"):
        await admin.execute("CREATE ROLE ragents_search NOLOGIN")
    await admin.execute(f"GRANT ragents_search TO {role} WITH ADMIN OPTION")
    inside = await asyncpg.connect(postgres.replace("/ragents?", f"/{name}?"))
    await inside.execute("CREATE EXTENSION vector")
    await inside.close()
    dsn = postgres.replace("/ragents?", f"/{name}?").replace("postgres@", f"{role}@", 1)
    owner = await asyncpg.connect(dsn)
    await runner.apply(owner, "ragents", load_migrations()[:2], replace=("@vector_schema@", "public"))
    for principal in (OWNER, OTHER):
        await store_as_before(owner, principal.tenant)
    await owner.close()
    yield dsn
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


async def store_as_before(owner: asyncpg.Connection, tenant: str) -> None:
    async with owner.transaction():
        await owner.execute("SELECT set_config('ragents.tenant', $1, true)", tenant)
        await owner.execute("INSERT INTO ragents.tenants (name) VALUES ($1)", tenant)
        collection = await owner.fetchval(
            "INSERT INTO ragents.collections (tenant, name, embedding_model, dimension, documents, chunks, words) "
            "VALUES ($1, 'c', 'm', 4, 1, 4, 7) RETURNING id",
            tenant,
        )
        document = await owner.fetchval(
            "INSERT INTO ragents.documents (tenant, collection_id, uri, title, format, content_hash, chunks, metadata) "
            """VALUES ($1, $2, 'a.md', '', 'md', 'h', 4, '{"year": 2024}') RETURNING id""",
            tenant,
            collection,
        )
        for position, text in enumerate(TEXTS):
            chunk = await owner.fetchval(
                "INSERT INTO ragents.chunks (id, tenant, document_id, position, body, start_offset, end_offset) "
                "VALUES (gen_random_uuid(), $1, $2, $3, $4, 0, 1) RETURNING id",
                tenant,
                document,
                position,
                text,
            )
            await owner.execute(
                "INSERT INTO ragents.chunk_index "
                "(chunk_id, tenant, collection_id, document_id, words, embedding, lexemes) "
                "VALUES ($1, $2, $3, $4, 2, $5::text::public.vector, to_tsvector('english', $6))",
                chunk,
                tenant,
                collection,
                document,
                str(np.eye(4)[position].tolist()),
                text,
            )


async def test_documents_are_found_as_before_and_can_be_changed(database: str) -> None:
    app = f"app_{uuid.uuid4().hex}"
    assert await migrate(database, app_role=app) == [each.name for each in load_migrations()[2:]]
    role = database.split("://")[1].split("@", maxsplit=1)[0]
    async with open_pgvector(database.replace(f"{role}@", f"{app}@", 1), StoreConfig()) as store:
        for principal in (OWNER, OTHER):
            vector = np.eye(4, dtype=np.float32)[1]
            (nearest, *_) = await store.search(SearchQuery("", vector, "c", mode="dense"), principal=principal)
            assert nearest.text == "the lion sleeps"
            found = await store.search(SearchQuery("zebra", None, "c", mode="lexical"), principal=principal)
            assert {source.text for source in found} == {"zebras graze quietly", "zebras and lions"}
            query = SearchQuery("zebra", vector, "c", filters={"year": {"gte": 2024}})
            assert len(await store.search(query, principal=principal)) == 4
        (document,) = await store.documents(principal=OWNER)
        await store.delete(document.id, principal=OWNER)
        assert await store.search(SearchQuery("zebra", vector, "c"), principal=OWNER) == []
        assert len(await store.search(SearchQuery("zebra", vector, "c"), principal=OTHER)) == 4
    owner = await asyncpg.connect(database)
    counts = "SELECT count(*), coalesce(sum(chunks), 0) FROM ragents.term_counts WHERE tenant = $1"
    assert tuple(await owner.fetchrow(counts, OWNER.tenant)) == (0, 0)
    assert tuple(await owner.fetchrow(counts, OTHER.tenant)) == (5, 7)
    assert await owner.fetchval("SELECT to_regclass('ragents.chunk_index')") is None
    forced = await owner.fetchval("SELECT relforcerowsecurity FROM pg_class WHERE oid = 'ragents.tenants'::regclass")
    assert forced is True
    await owner.close()
