"""Backups that were brought back: another server answers the same question with the same words and sources."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.deploy.tools import ROOT
from tests.e2e.conftest import environment
from tests.postgres_server import PostgresServer

INIT = ROOT / "deploy" / "postgres" / "init.sql"
QUESTION = "How long does a question wait for a place before it is refused?"

TABLES = """
    SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, c.relacl::text, pg_get_userbyid(c.relowner) AS owner,
           (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies,
           (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid) AS indexes
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND c.relkind IN ('r', 'p')
    ORDER BY 1
"""


def prepare(server: PostgresServer) -> None:
    """As the image of Postgres does it with deploy/postgres/init.sql when its volume is empty."""
    server.program("createdb", "-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "ragents")
    script = server.directory / "init.sql"
    script.write_text(INIT.read_text())
    script.chmod(0o644)
    dsn = server.dsn(database="ragents")
    server.program("psql", "-X", "-q", "-d", dsn, "-f", script, OWNER_PASSWORD="o", BACKUP_PASSWORD="b")


def ragents(server: PostgresServer, home: Path, *arguments: str) -> str:
    variables = {
        "RAGENTS_STORE__DSN": server.dsn(user="ragents_app", password="a", database="ragents"),
        "RAGENTS_STORE__MIGRATE_DSN": server.dsn(user="ragents_owner", password="o", database="ragents"),
        "RAGENTS_EMBEDDINGS__BACKEND": "hashing",
        "RAGENTS_RAG__MIN_CONFIDENCE": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", "from ragents.cli import main; main()", *arguments],
        env=environment(home, **variables),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def answer(server: PostgresServer, home: Path) -> dict[str, Any]:
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
        other.program(
            "pg_restore",
            "--clean",
            "--if-exists",
            "--single-transaction",
            "--exit-on-error",
            f"--dbname={other.dsn(database='ragents')}",
            dump,
        )
        other.program("psql", "-X", "-q", "-d", other.dsn(database="ragents"), "-c", "ANALYZE")
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
