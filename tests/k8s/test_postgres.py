"""What k8s/postgres.yaml runs inside Postgres, run: the roles, the migration, a backup, and a restore elsewhere."""

import subprocess
from pathlib import Path

import asyncpg
import numpy as np
import pytest

from ragents.deployment.app import migrate_all
from ragents.embedded import open_postgres
from ragents.embedded.binaries import find_install
from ragents.principal import Principal
from ragents.rag.store import SearchQuery, StoreConfig
from ragents.rag.store.pgvector import open_pgvector
from ragents.rag.types import Chunk, Document
from tests.k8s.manifests import containers, load, named
from tests.k8s.servers import Cluster, prepared

ANN, BOB = Principal("acme", "ann"), Principal("other", "bob")


@pytest.fixture(scope="module")
async def filled(cluster: Cluster) -> Cluster:
    """With one document of each of two tenants."""
    await store(cluster, ANN, "zebras graze quietly")
    await store(cluster, BOB, "zebras belong to bob")
    return cluster


async def store(cluster: Cluster, principal: Principal, text: str) -> None:
    async with open_pgvector(cluster.dsn("ragents_app"), StoreConfig()) as opened:
        document = Document("a.md", "Zebras", "md", content_hash=text)
        chunk = Chunk(0, text, 0, len(text))
        vectors = np.full((1, 4), 0.5, dtype=np.float32)
        await opened.upsert(document, [chunk], vectors, principal=principal, collection="c", embedding_model="m")


async def ask(cluster: Cluster, principal: Principal) -> list[tuple[str, float]]:
    query = SearchQuery("zebras", np.full(4, 0.5, dtype=np.float32), "c")
    async with open_pgvector(cluster.dsn("ragents_app"), StoreConfig()) as opened:
        return [(each.text, each.score) for each in await opened.search(query, principal=principal)]


async def test_the_owner_is_no_superuser_and_the_backup_role_only_reads(filled: Cluster) -> None:
    connection = await asyncpg.connect(filled.superuser)
    rows = await connection.fetch("SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname LIKE 'ragents%'")
    await connection.close()
    reader = await asyncpg.connect(filled.dsn("ragents_backup"))

    rights = {row["rolname"]: (row["rolsuper"], row["rolbypassrls"]) for row in rows}

    assert rights["ragents_owner"] == rights["ragents_app"] == (False, False)
    assert rights["ragents_backup"] == (False, True)
    assert await reader.fetchval("SELECT count(*) FROM ragents.documents") >= 2
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.execute("DELETE FROM ragents.documents")
    await reader.close()


async def test_each_tenant_finds_its_own(filled: Cluster) -> None:
    assert [text for text, _ in await ask(filled, ANN)] == ["zebras graze quietly"]
    assert [text for text, _ in await ask(filled, BOB)] == ["zebras belong to bob"]


async def test_a_backup_of_the_role_that_serves_would_lack_rows_and_fails(filled: Cluster) -> None:
    done = filled.run("backup.sh", "ragents_app")

    assert done.returncode != 0
    assert filled.backups() == [] or all(name.endswith(".part") for name in filled.backups())


async def test_a_backup_is_kept_and_the_oldest_go(filled: Cluster) -> None:
    for day in range(1, 5):
        (filled.directory / f"ragents-2020010{day}T000000Z.dump").write_text("old")
    (filled.directory / "ragents-20200105T000000Z.dump.part").write_text("cut off")

    done = filled.run("backup.sh", "ragents_backup", BACKUP_KEEP="3")

    assert done.returncode == 0, done.stderr
    kept = filled.backups()
    assert kept[:2] == ["ragents-20200103T000000Z.dump", "ragents-20200104T000000Z.dump"]
    assert len(kept) == 3
    newest = filled.directory / kept[-1]
    assert newest.stat().st_mode & 0o077 == 0  # it holds every tenant's documents


async def test_a_backup_that_fails_removes_nothing(filled: Cluster) -> None:
    before = filled.backups()

    done = filled.run("backup.sh", "ragents_backup", PGDATABASE="elsewhere", BACKUP_KEEP="1")

    assert done.returncode != 0
    assert [name for name in filled.backups() if name.endswith(".dump")] == before


async def test_a_database_without_our_tables_is_no_backup(filled: Cluster) -> None:
    done = filled.run("backup.sh", "ragents_backup", PGDATABASE="postgres")

    assert done.returncode != 0
    assert [name for name in filled.backups() if name.endswith(".part")]


async def test_what_was_backed_up_is_answered_from_another_server(filled: Cluster, home: Path) -> None:
    assert filled.run("backup.sh", "ragents_backup").returncode == 0
    expected = [await ask(filled, ANN), await ask(filled, BOB)]

    async with open_postgres(home / "kr") as superuser:
        other = await prepared(superuser, filled.directory)  # init.sql and the migration, then the dump over both
        await store(other, ANN, "what is here is replaced")
        restored = other.run("restore.sh", "postgres")

        assert restored.returncode == 0, restored.stderr
        assert [await ask(other, ANN), await ask(other, BOB)] == expected
        assert await migrate_all(other.dsn("ragents_owner"), dsn=other.dsn("ragents_app")) == []
        await store(other, BOB, "zebras come again")  # the roles' rights came along
        assert [text for text, _ in await ask(other, BOB)] == ["zebras come again"]


def test_postgres_takes_the_settings_that_it_is_started_with(filled: Cluster, home: Path) -> None:
    postgres = find_install() / "bin" / "postgres"
    arguments = next(containers(named(load("postgres.yaml"), "StatefulSet", "postgres")))["args"][1:]
    data = next((home / "ka").glob("*/PG_VERSION")).parent

    for argument in arguments:
        name = argument.removeprefix("-c").partition("=")[0]
        done = subprocess.run(
            [postgres, "-C", name, "-D", data, *arguments], capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
