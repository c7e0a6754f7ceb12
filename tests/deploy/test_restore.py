"""Backups that were brought back: another server answers the same question with the same words and sources."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ragents.embedded import open_postgres
from ragents.embedded.binaries import find_install
from tests.deploy.tools import ROOT
from tests.e2e.conftest import environment
from tests.postgres_server import PostgresServer

INIT = ROOT / "deploy" / "postgres" / "init.sql"
HAND_OVER = ROOT / "deploy" / "postgres" / "hand_over.sql"
QUESTION = "How long does a question wait for a place before it is refused?"

TABLES = """
    SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, c.relacl::text, pg_get_userbyid(c.relowner) AS owner,
           (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies,
           (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid) AS indexes
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND c.relkind IN ('r', 'p')
    ORDER BY 1
"""

OWNED = """
    WITH owned(name, schema, owner) AS (
        SELECT nspname, oid, nspowner FROM pg_namespace
        UNION ALL SELECT oid::regclass::text, relnamespace, relowner FROM pg_class
        UNION ALL SELECT oid::regprocedure::text, pronamespace, proowner FROM pg_proc
        UNION ALL SELECT oid::regtype::text, typnamespace, typowner FROM pg_type
        UNION ALL SELECT stxname, stxnamespace, stxowner FROM pg_statistic_ext
        UNION ALL SELECT oprname, oprnamespace, oprowner FROM pg_operator
        UNION ALL SELECT opcname, opcnamespace, opcowner FROM pg_opclass
        UNION ALL SELECT collname, collnamespace, collowner FROM pg_collation
        UNION ALL SELECT cfgname, cfgnamespace, cfgowner FROM pg_ts_config
        UNION ALL SELECT dictname, dictnamespace, dictowner FROM pg_ts_dict
    )
    SELECT o.name, pg_get_userbyid(o.owner) FROM owned o JOIN pg_namespace n ON n.oid = o.schema
    WHERE n.nspname ~ '^ragents' ORDER BY 1
"""

ALTERED = """
    BEGIN;
    ALTER TABLE ragents.chunks ADD COLUMN tried integer;
    ALTER TABLE ragents_threads.langgraph_threads ADD COLUMN tried integer;
    ROLLBACK
"""


def prepare(server: PostgresServer) -> None:
    """As the image of Postgres does it with deploy/postgres/init.sql when its volume is empty."""
    server.program("createdb", "-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "ragents")
    script = server.directory / "init.sql"
    script.write_text(INIT.read_text())
    script.chmod(0o644)
    dsn = server.dsn(database="ragents")
    server.program("psql", "-X", "-q", "-d", dsn, "-f", script, OWNER_PASSWORD="o", BACKUP_PASSWORD="b")


def run_ragents(server: PostgresServer | None, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """With `server`, or the embedded Postgres of `home`."""
    variables = {"RAGENTS_EMBEDDINGS__BACKEND": "hashing", "RAGENTS_RAG__MIN_CONFIDENCE": "0"}
    if server is not None:
        variables |= {
            "RAGENTS_STORE__DSN": server.dsn(user="ragents_app", password="a", database="ragents"),
            "RAGENTS_STORE__MIGRATE_DSN": server.dsn(user="ragents_owner", password="o", database="ragents"),
        }
    return subprocess.run(
        [sys.executable, "-c", "from ragents.cli import main; main()", *arguments],
        env=environment(home, **variables),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def ragents(server: PostgresServer | None, home: Path, *arguments: str) -> str:
    done = run_ragents(server, home, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def answer(server: PostgresServer | None, home: Path) -> dict[str, Any]:
    found = json.loads(ragents(server, home, "query", QUESTION, "--json"))
    return {
        "answer": found["answer"],
        "sources": [(source["id"], source["text"], round(source["score"], 6)) for source in found["sources"]],
    }


def shape(server: PostgresServer) -> tuple[list[tuple[Any, ...]], dict[str, int]]:
    """Each table with its owner, rights and policies; and its rows, counted past row-level security."""

    async def read() -> tuple[list[tuple[Any, ...]], dict[str, int]]:
        connection = await asyncpg.connect(server.dsn(database="ragents"))
        try:
            tables = [tuple(row) for row in await connection.fetch(TABLES)]
            paths = await connection.fetch(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname ~ '^(ragents|public)'"
            )
            return tables, {path: await connection.fetchval(f"SELECT count(*) FROM {path}") for (path,) in paths}
        finally:
            await connection.close()

    return asyncio.run(read())


def owners(server: PostgresServer) -> dict[str, str]:
    """Of the schemas of RAGents and of everything in them, by name."""

    async def read() -> dict[str, str]:
        connection = await asyncpg.connect(server.dsn(database="ragents"))
        try:
            return dict(await connection.fetch(OWNED))
        finally:
            await connection.close()

    return asyncio.run(read())


def restore(server: PostgresServer, dump: Path) -> None:
    server.program(
        "pg_restore",
        "--clean",
        "--if-exists",
        "--single-transaction",
        "--exit-on-error",
        f"--dbname={server.dsn(database='ragents')}",
        dump,
    )
    server.program("psql", "-X", "-q", "-d", server.dsn(database="ragents"), "-c", "ANALYZE")


@pytest.fixture(scope="module")
def place(home: Path) -> Path:
    directory = home / "restore"
    directory.mkdir(mode=0o755)
    return directory


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[PostgresServer]:
    """The one that is backed up: with documents, a key and a thread."""
    opened = PostgresServer(place / "first").create().start()
    try:
        prepare(opened)
        ragents(opened, place, "db", "migrate")
        ragents(opened, place, "ingest", "docs/limits.md", "docs/caching.md")
        ragents(opened, place, "keys", "create", "--user", "ann")
        ragents(opened, place, "query", QUESTION, "--thread", "kept")
        yield opened
    finally:
        opened.remove()


def test_a_dump_by_the_owner_fails_instead_of_leaving_rows_out(server: PostgresServer) -> None:
    with pytest.raises(AssertionError, match="row-level security"):
        server.program("pg_dump", "-d", server.dsn(user="ragents_owner", database="ragents"), "--file=/dev/null")


def test_what_pg_dump_wrote_another_server_answers_with(server: PostgresServer, place: Path) -> None:
    """The commands of docs/scaling.md."""
    dump = server.directory / "ragents.dump"
    server.program(
        "pg_dump", "--format=custom", "-d", server.dsn(user="ragents_backup", database="ragents"), f"--file={dump}"
    )
    other = PostgresServer(place / "second").create().start()
    try:
        prepare(other)
        ragents(other, place, "db", "migrate")  # the roles
        restore(other, dump)
        assert shape(other) == shape(server)
        assert shape(other)[1]["ragents.chunks"] > 0
        assert shape(other)[1]["ragents.api_keys"] == 1
        assert answer(other, place) == answer(server, place)
        assert json.loads(ragents(other, place, "db", "migrate", "--json")) == {"applied": []}
    finally:
        other.remove()


def test_a_base_backup_starts_as_a_server_of_its_own(server: PostgresServer, place: Path) -> None:
    other = PostgresServer(place / "third")
    server.program("pg_basebackup", "-d", server.dsn(), "-D", other.data, "-X", "stream", "--checkpoint=fast")
    other.start()
    try:
        assert shape(other) == shape(server)
        assert answer(other, place) == answer(server, place)
    finally:
        other.remove()


def dump_embedded(home: Path, dump: Path) -> None:
    """Over its socket, by the pg_dump of the package, while a process of RAGents keeps it running."""

    async def run() -> None:
        async with open_postgres(home / "postgres"):
            await asyncio.to_thread(
                subprocess.run,
                [
                    find_install() / "bin" / "pg_dump",
                    "--format=custom",
                    f"--file={dump}",
                    *("-h", home / "postgres" / "cluster", "-U", "postgres", "-d", "ragents"),
                ],
                env={"PATH": os.environ["PATH"]},
                check=True,
                timeout=100,
            )

    asyncio.run(run())
    dump.chmod(0o644)


def test_what_the_embedded_postgres_held_moves_to_a_server_with_an_owner(place: Path) -> None:
    """The commands of docs/scaling.md, "Moving up"."""
    home = place / "local"
    ragents(None, home, "ingest", "docs/limits.md", "docs/caching.md")
    ragents(None, home, "keys", "create", "--user", "ann")
    expected = answer(None, home)
    other = PostgresServer(place / "fourth").create().start()
    try:
        prepare(other)
        ragents(other, place, "db", "migrate")  # the roles
        made = owners(other)
        dump = other.directory / "embedded.dump"
        dump_embedded(home, dump)
        restore(other, dump)

        refused = run_ragents(other, place, "db", "migrate")
        assert refused.returncode == 2
        assert "the schema ragents belongs to postgres" in refused.stderr.replace("\n", " ")
        assert "hand_over.sql" in refused.stderr

        script = other.directory / "hand_over.sql"
        script.write_text(HAND_OVER.read_text())
        script.chmod(0o644)
        for _ in range(2):
            other.program("psql", "-X", "-q", "-d", other.dsn(database="ragents"), "-f", script)
        assert owners(other) == made  # as if the owner had made them
        assert set(made.values()) == {"ragents_owner", "ragents_search"}
        assert json.loads(ragents(other, place, "db", "migrate", "--json")) == {"applied": []}
        assert shape(other)[1]["ragents.api_keys"] == 1
        assert answer(other, place) == expected
        owner = other.dsn(user="ragents_owner", password="o", database="ragents")
        other.program("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", owner, "-c", ALTERED)  # as a migration might
    finally:
        other.remove()
