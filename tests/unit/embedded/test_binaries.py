"""The binaries: absent, out of reach, and copied for the user that root runs them as."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ragents.embedded import binaries
from ragents.embedded.lease import Lease
from ragents.errors import ConfigError

NOBODY = pwd.getpwnam("nobody")
OTHER_THAN_ROOT = binaries.Account(NOBODY.pw_uid, NOBODY.pw_gid)


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that everybody can walk to; pytest's own are closed."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def install_under(directory: Path) -> Path:
    """The real tree, below `directory`."""
    source = binaries.find_install()
    shutil.copytree(source / "bin", directory / binaries.PACKAGE / source.name / "bin", ignore=binaries._not_needed)
    for part in ("lib/postgresql", "share"):
        shutil.copytree(source / part, directory / binaries.PACKAGE / source.name / part)
    libraries = source.parent.parent / f"{binaries.PACKAGE}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, directory / libraries.name)
    return directory / binaries.PACKAGE / source.name


def test_a_platform_without_the_binaries_is_told_to_set_a_dsn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match=r"no embedded Postgres 18 is installed .* set store\.dsn"):
        binaries.install_for(None)


def test_binaries_that_cannot_be_executed_are_an_error_for_a_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "pginstall18"
    (broken / "bin").mkdir(parents=True)
    (broken / "bin" / "initdb").write_text("")
    monkeypatch.setattr(binaries, "find_install", lambda: broken)
    with pytest.raises(ConfigError, match="cannot execute"):
        binaries.install_for(None)


def test_the_wheel_itself_is_used_where_it_can_be() -> None:
    assert binaries.install_for(None) == binaries.find_install()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as somebody else")
class TestAsRoot:
    def test_binaries_under_a_closed_directory_are_copied_once_and_run(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, open_place: Path
    ) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        source = install_under(closed)
        monkeypatch.setattr(binaries, "find_install", lambda: source)
        monkeypatch.setattr(binaries, "COPY_PLACES", (Path("/proc/nowhere"), open_place / "cache"))
        mask = os.umask(0o077)  # a strict root must not close the copy
        try:
            copy = binaries.install_for(OTHER_THAN_ROOT)
        finally:
            os.umask(mask)
        assert copy.is_relative_to(open_place / "cache")
        made = (copy / "bin" / "postgres").stat()
        assert binaries.install_for(OTHER_THAN_ROOT) == copy
        assert (copy / "bin" / "postgres").stat() == made
        assert [path.name.partition("-")[0] for path in (open_place / "cache").iterdir()] == ["postgres"]
        held = Lease(tmp_path / "data")
        try:
            with psycopg.connect(held.open(30)) as connection:
                connection.execute("CREATE EXTENSION vector")
        finally:
            held.close()

    def test_a_copy_place_that_others_may_write_to_is_not_used(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, open_place: Path
    ) -> None:
        (tmp_path / "closed").mkdir(mode=0o700)
        source = install_under(tmp_path / "closed")
        for name, owner in (("shared", 0), ("theirs", OTHER_THAN_ROOT.uid)):
            (open_place / name).mkdir()
            os.chown(open_place / name, owner, -1)
        (open_place / "shared").chmod(0o777)
        (open_place / "link").symlink_to(tmp_path)
        monkeypatch.setattr(binaries, "find_install", lambda: source)
        monkeypatch.setattr(binaries, "COPY_PLACES", [open_place / name for name in ("shared", "theirs", "link")])
        with pytest.raises(ConfigError, match="no place for a copy"):
            binaries.install_for(OTHER_THAN_ROOT)

    def test_data_of_a_user_is_served_by_that_user(self, tmp_path: Path) -> None:
        os.chown(tmp_path, 12345, 12345)
        assert binaries.choose_account(tmp_path) == binaries.Account(12345, 12345)

    def test_new_data_is_served_by_nobody(self, tmp_path: Path) -> None:
        assert binaries.choose_account(tmp_path) == OTHER_THAN_ROOT
