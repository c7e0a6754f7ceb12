"""The graph's file: never half, never stale, never too many."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ragents.embeddings.graph_cache import STALE_AFTER_S, cached_graph


def never() -> bytes:
    raise AssertionError("built although it is there")


def age(file: Path) -> Path:
    long_ago = time.time() - 2 * STALE_AFTER_S
    os.utime(file, (long_ago, long_ago))
    return file


def test_a_directory_that_cannot_be_made_gives_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert cached_graph(tmp_path / "file" / "models", recipe="r", build=lambda: b"graph") == b"graph"


def test_a_disk_that_fails_gives_the_bytes_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert cached_graph(tmp_path, recipe="r", build=lambda: b"graph") == b"graph"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"gra", b"graph and more", b"grapH"])
def test_a_damaged_file_is_built_again(tmp_path: Path, damage: bytes) -> None:
    file = cached_graph(tmp_path, recipe="r", build=lambda: b"graph")
    assert isinstance(file, Path)
    file.write_bytes(damage)
    assert cached_graph(tmp_path, recipe="r", build=lambda: b"graph") == file
    assert file.read_bytes() == b"graph"


def test_an_intact_file_is_not_built_again(tmp_path: Path) -> None:
    file = cached_graph(tmp_path, recipe="r", build=lambda: b"graph")
    assert cached_graph(tmp_path, recipe="r", build=never) == file


def test_another_recipe_is_another_file(tmp_path: Path) -> None:
    one = cached_graph(tmp_path, recipe="mean", build=lambda: b"mean")
    other = cached_graph(tmp_path, recipe="cls", build=lambda: b"cls")
    assert one != other
    assert cached_graph(tmp_path, recipe="mean", build=never) == one


def test_old_files_are_swept_and_young_ones_stay(tmp_path: Path) -> None:
    old = cached_graph(tmp_path, recipe="old", build=lambda: b"old")
    assert isinstance(old, Path)
    age(old)
    (tmp_path / "killed.part").write_bytes(b"half")
    age(tmp_path / "killed.part")
    (tmp_path / "writing.part").write_bytes(b"half")
    new = cached_graph(tmp_path, recipe="new", build=lambda: b"new")
    assert isinstance(new, Path)
    assert {each.name for each in tmp_path.iterdir()} == {new.name, "writing.part"}


def test_many_may_build_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(cached_graph, tmp_path, recipe="r", build=lambda: b"graph" * 1000) for _ in range(32)]
        files = {task.result(timeout=30) for task in tasks}
    assert list(tmp_path.iterdir()) == list(files)
