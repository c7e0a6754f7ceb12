"""The parts of the guardian that need no server."""

import fcntl
import os
from pathlib import Path

import pytest

from ragents.embedded import cluster, guardian
from ragents.embedded.lease import Lease
from ragents.errors import StoreUnavailable


def spec(lock_fd: int = -1) -> guardian.Spec:
    return {"command": [], "environment": {}, "uid": None, "gid": None, "link": None, "lock_fd": lock_fd}


def test_a_server_that_never_stays_up_is_given_up_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = 'echo "FATAL:  the moon is in the way" >&2; exit 1'
    monkeypatch.setattr(cluster, "server_command", lambda *_: ["/bin/sh", "-c", script])
    monkeypatch.setattr(cluster, "make_cluster", lambda *_, **__: (tmp_path / "cluster").mkdir(mode=0o755))
    lease = Lease(tmp_path)
    try:
        with pytest.raises(StoreUnavailable, match="did not start: the moon is in the way"):
            lease.open(30)
    finally:
        lease.close()
    assert (tmp_path / "server.log").read_text().count("FATAL") == guardian.MAX_STARTS
    assert guardian.is_free(tmp_path / guardian.GUARDIAN)


@pytest.mark.parametrize("content", ["", "no number\n", None])
def test_a_damaged_or_missing_pid_file_names_no_server(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "postmaster.pid").write_text(content)
    assert guardian.postmaster(tmp_path / "postmaster.pid") is None


def test_a_number_that_now_belongs_to_somebody_else_is_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cluster").mkdir()
    assert not guardian.works_in_cluster(os.getpid())


def test_a_lock_is_free_again_when_its_last_holder_closes_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    first, second = guardian.try_lock(path, fcntl.LOCK_SH), guardian.try_lock(path, fcntl.LOCK_SH)
    assert first is not None
    assert second is not None
    assert not guardian.is_free(path)
    os.close(first)
    assert not guardian.is_free(path)
    os.close(second)
    assert guardian.is_free(path)


def test_the_log_keeps_its_tail_and_its_writer_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "server.log"
    fd = os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    stdout = os.dup(1)
    try:
        os.write(fd, b"old\n" * (guardian.LOG_MAX_BYTES // 4))
        os.write(fd, b"new\n")
        os.dup2(fd, 1)
        guardian.Guardian(spec())._bound_log()
        os.write(fd, b"later\n")
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(fd)
    assert log.stat().st_size == guardian.LOG_KEEP_BYTES + len(b"later\n")
    assert log.read_bytes().endswith(b"old\nnew\nlater\n")
