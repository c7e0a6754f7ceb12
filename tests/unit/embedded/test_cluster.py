"""What stops a cluster from being made or taken, and what a socket path may look like."""

import asyncio
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from ragents.embedded import cluster, guardian, open_postgres
from ragents.embedded.lease import Lease
from ragents.errors import ConfigError, StoreUnavailable


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """Under /tmp itself: pytest's own directories can be long."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        yield Path(directory)


def opening(data_dir: Path, *, free: int = 10**12, timeout_s: float = 30) -> str:
    lease = Lease(data_dir, free=lambda _: free)
    try:
        return lease.open(timeout_s)
    finally:
        lease.close()


def test_too_little_disk_space_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"12 MB of disk space are left .* needs 300") as caught:
        opening(tmp_path / "data", free=12_000_000)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "data").glob("cluster*"))


def test_a_cluster_of_another_major_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    old = tmp_path / "cluster"
    old.mkdir()
    (old / "PG_VERSION").write_text("16\n")
    with pytest.raises(ConfigError, match="was written by Postgres 16 and this is 18"):
        opening(tmp_path)
    assert [path.name for path in old.iterdir()] == ["PG_VERSION"]


def test_a_directory_that_is_no_cluster_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    with pytest.raises(ConfigError, match="not a Postgres cluster"):
        opening(tmp_path)


def test_a_data_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot keep the embedded Postgres in .*file/data"):
        opening(tmp_path / "file" / "data")


def test_a_data_directory_open_to_everybody_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match="everybody may write"):
        opening(tmp_path)


def test_a_link_in_place_of_a_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("")
    (tmp_path / "server.log").symlink_to(tmp_path / "victim")
    with pytest.raises(ConfigError, match=r"server\.log"):
        opening(tmp_path)


def test_waiting_for_another_opener_ends_with_the_timeout(tmp_path: Path) -> None:
    cluster.prepare(tmp_path)
    first, second = Lease(tmp_path), Lease(tmp_path)
    began = time.monotonic()
    with first._start_lock(), pytest.raises(StoreUnavailable, match=r"within 0\.2 s: another process"):
        second.open(0.2)
    assert time.monotonic() - began < 5


def test_a_closed_lease_gives_up_opening(tmp_path: Path) -> None:
    lease = Lease(tmp_path / "data")
    lease.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        lease.open(30)
    assert not (tmp_path / "data" / "cluster").exists()


def test_running_out_of_time_in_initdb_leaves_no_half_cluster(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"did not start within 0\.1 s"):
        opening(tmp_path / "data", timeout_s=0.1)
    assert not list((tmp_path / "data").glob("cluster*"))


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("LOG: x\nFATAL:  could not write: No space left on device\n", "no disk space left; free some"),
        ("FATAL:  first\nLOG: y\n2026-01-01 UTC [3] FATAL:  lock file is empty\nHINT: z", "lock file is empty"),
        ("initdb: error: could not access directory", "could not access directory"),
        ("nothing of use", "it left no reason"),
    ],
)
def test_the_reason_is_the_last_line_that_says_one(output: str, expected: str) -> None:
    assert cluster.reason(output) == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as somebody else")
async def test_a_cluster_that_root_restored_is_handed_to_the_account(tmp_path: Path) -> None:
    async with open_postgres(tmp_path / "data"):
        pass
    await asyncio.to_thread(guardian.wait_until, lambda: guardian.is_free(tmp_path / "data" / guardian.GUARDIAN), 20)
    shutil.copytree(tmp_path / "data", tmp_path / "restored")
    assert (tmp_path / "restored" / "cluster" / "PG_VERSION").stat().st_uid == 0
    async with open_postgres(tmp_path / "restored") as dsn:
        await (await asyncpg.connect(dsn)).close()


@pytest.mark.parametrize("name", ["n" * 120, "with, comma", "ünï 'quoted' & more"])
async def test_a_path_too_long_or_odd_for_a_socket_is_reached_by_a_private_link(short_tmp: Path, name: str) -> None:
    data_dir = short_tmp / name
    async with open_postgres(data_dir) as dsn:
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SELECT current_database()") == "ragents"
        await connection.close()
        with psycopg.connect(dsn) as other:
            assert other.info.user == "postgres"
        directory, link = cluster.socket_directory(data_dir.resolve())
        assert len(os.fsencode(directory / cluster.SOCKET_NAME)) <= cluster.MAX_SOCKET_PATH
        if link is not None:
            assert stat.S_IMODE(link.parent.stat().st_mode) == 0o700
            assert link.parent.stat().st_uid == os.geteuid()


def test_a_path_that_fits_needs_no_link(short_tmp: Path) -> None:
    assert cluster.socket_directory(short_tmp) == (short_tmp / "cluster", None)


@pytest.mark.parametrize("hijack", ["wider mode", "link", "file"])
def test_a_hijacked_socket_directory_is_refused(short_tmp: Path, hijack: str) -> None:
    data_dir = short_tmp / ("n" * 120)
    data_dir.mkdir()
    _, link = cluster.socket_directory(data_dir)
    assert link is not None
    private = link.parent
    try:
        match hijack:
            case "wider mode":
                private.chmod(0o755)
            case "link":
                shutil.rmtree(private)
                (short_tmp / "elsewhere").mkdir(mode=0o700)
                private.symlink_to(short_tmp / "elsewhere")
            case "file":
                shutil.rmtree(private)
                private.write_text("")
        with pytest.raises(ConfigError, match="not a private directory"):
            cluster.socket_directory(data_dir)
    finally:
        shutil.rmtree(private) if private.is_dir() and not private.is_symlink() else private.unlink()


def test_a_link_that_points_elsewhere_is_put_right(short_tmp: Path) -> None:
    data_dir = short_tmp / ("n" * 120)
    data_dir.mkdir()
    _, link = cluster.socket_directory(data_dir)
    assert link is not None
    try:
        link.unlink()
        link.symlink_to("/nowhere")
        cluster.socket_directory(data_dir)
        assert link.readlink() == data_dir / "cluster"
    finally:
        shutil.rmtree(link.parent)
