"""A Postgres whose disk is full: reading goes on there, so that only a try to write can tell."""

import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import pytest

from ragents.deployment.health import Health, overall
from ragents.embedded.binaries import choose_account
from ragents.errors import BackendUnavailable
from ragents.postgres import Connections, open_connections
from ragents.rag.store.pgvector import PgVectorStore

MEGABYTES = 4


@pytest.fixture
def mounted() -> Iterator[Path]:
    """A disk of 4 MB."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", directory]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("a small disk can be mounted by root only")
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", "-l", directory], check=True)


@pytest.fixture
async def small_disk(mounted: Path, postgres: str, home: Path) -> AsyncIterator[Path]:
    """With a tablespace on it, of the name small."""
    place = mounted / "space"
    place.mkdir()
    if account := choose_account(home / "postgres"):
        os.chown(place, account.uid, account.gid)
    admin = await asyncpg.connect(postgres)
    try:
        await admin.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
        await admin.execute("GRANT CREATE ON TABLESPACE small TO PUBLIC")
        yield mounted
        await admin.execute("DROP TABLESPACE small")
    finally:
        await admin.close()


@pytest.fixture
async def connections(small_disk: Path, migrated: str) -> AsyncIterator[Connections]:
    """A pool of the role that serves, whose statements write to the small disk."""
    async with open_connections(
        migrated,
        component="store",
        pool_size=2,
        connect_timeout_s=5,
        acquire_timeout_s=5,
        statement_timeout_s=5,
        check=_nothing,
        settings={"temp_tablespaces": "small"},
    ) as opened:
        yield opened


async def _nothing(connection: asyncpg.Connection) -> None:
    """No schema is looked for."""


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(4096))
        except OSError:
            return filler


async def test_a_full_disk_is_told_by_its_name_and_forgotten_once_there_is_room(
    small_disk: Path, connections: Connections
) -> None:
    filler = fill(small_disk)
    async with connections.use() as db:
        assert await db.fetchval("SELECT 1") == 1  # reading goes on
    with pytest.raises(BackendUnavailable, match="its disk is full; free some space"):
        await connections.check_disk()
    filler.unlink()
    await connections.check_disk()
    assert sum(each.stat().st_size for each in small_disk.rglob("*") if each.is_file()) == 0  # nothing stays behind


async def test_health_tells_a_full_disk_and_its_recovery_at_once(
    small_disk: Path, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = SimpleNamespace(store=PgVectorStore(connections))
    health = Health(cast("Any", app))
    monkeypatch.setattr(health, "_probes", {"disk": health._disk})
    monkeypatch.setattr("ragents.deployment.health.KEEP_S", -1.0)
    filler = fill(small_disk)
    disk = (await health.check())["disk"]
    assert (disk.status, disk.error) == (
        "unavailable",
        "store is unavailable: its disk is full; free some space there",
    )
    filler.unlink()
    assert overall(await health.check()) == "ok"


def test_without_threads_no_question_is_answered_and_without_a_disk_to_write_some_are() -> None:
    from ragents.deployment.health import Component

    ok, down = Component("ok", 1.0), Component("unavailable", 1.0, "its disk is full")
    assert overall({"store": ok, "checkpointer": down, "disk": down}) == "unavailable"
    assert overall({"store": ok, "checkpointer": ok, "disk": down}) == "degraded"
