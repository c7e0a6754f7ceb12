"""Links: a directory that is ingested does not reach out of itself."""

import os
from pathlib import Path

import pytest

from ragents.errors import InputError
from ragents.ingestion.discover import discover


def test_a_link_to_a_file_elsewhere_is_passed_over_and_one_within_is_taken(tmp_path: Path) -> None:
    inside, outside = tmp_path / "docs", tmp_path / "outside.md"
    inside.mkdir()
    outside.write_text("secret")
    (inside / "a.md").write_text("a")
    (inside / "leads-out.md").symlink_to(outside)
    (inside / "leads-in.md").symlink_to(inside / "a.md")
    found, _ = discover([inside])
    assert [each.uri for each in found] == ["docs/a.md", "docs/leads-in.md"]


def test_a_link_that_is_given_by_name_is_taken(tmp_path: Path) -> None:
    (tmp_path / "real.md").write_text("a")
    (tmp_path / "link.md").symlink_to(tmp_path / "real.md")
    assert len(discover([tmp_path / "link.md"])[0]) == 1


def test_a_pipe_is_counted_in_a_directory_and_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    (tmp_path / "a.md").write_text("a")
    found, skipped = discover([tmp_path])
    assert ([each.path.name for each in found], skipped) == (["a.md"], {"(no regular file)": 1})
    with pytest.raises(InputError, match=r"pipe\.md' is neither a file nor a directory"):
        discover([tmp_path / "pipe.md"])
