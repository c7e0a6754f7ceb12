"""Which files an ingestion means, and under which uri each is stored."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragents.errors import InputError
from ragents.rag.loaders import FORMATS

TOOL_DIRECTORIES = frozenset(
    {
        ".git",
        ".hg",
        ".svn",
        ".venv",
        ".tox",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        "__pycache__",
        "node_modules",
    }
)


@dataclass(frozen=True, slots=True)
class Found:
    """`uri`: the name of the directory that was given and the path below it, with slashes; a file's own name.

    It does not depend on the working directory, so that a second run knows the documents of the first.
    """

    path: Path
    uri: str


def discover(paths: Sequence[Path]) -> tuple[list[Found], dict[str, int]]:
    """Files to take, sorted, and how many of each other kind were passed over. InputError for a path that is not there.

    Directories of tools (version control, environments, caches), links to directories, and links to files elsewhere
    are passed over.
    """
    found: dict[Path, Found] = {}
    by_uri: dict[str, Path] = {}
    skipped: dict[str, int] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{str(path)!r} does not exist; give files or directories", field="path")
        if not (path.is_file() or path.is_dir()):
            raise InputError(f"{str(path)!r} is neither a file nor a directory; save what it gives first", field="path")
        root = path.resolve()
        for file in _files(root):
            if not file.is_file():
                skipped["(no regular file)"] = skipped.get("(no regular file)", 0) + 1
            elif file.suffix.lower() in FORMATS or root == file:
                uri = root.name if root == file else f"{root.name}/{file.relative_to(root).as_posix()}"
                _add(found, by_uri, Found(file, uri))
            else:
                kind = file.suffix.lower() or "(no extension)"
                skipped[kind] = skipped.get(kind, 0) + 1
    return sorted(found.values(), key=lambda each: each.uri), skipped


def _add(found: dict[Path, Found], by_uri: dict[str, Path], new: Found) -> None:
    """InputError for two files under one uri: each would replace the other at every run."""
    other = by_uri.setdefault(new.uri, new.path)
    if other != new.path and new.path not in found:
        raise InputError(
            f"{str(other)!r} and {str(new.path)!r} would both be stored as {new.uri!r}; use two collections, "
            "or give a directory above both",
            field="path",
        )
    found.setdefault(new.path, new)


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for directory, directories, names in os.walk(root):
        directories[:] = sorted(name for name in directories if name not in TOOL_DIRECTORIES)
        for name in sorted(names):
            file = Path(directory) / name
            if not file.is_symlink() or (file.is_file() and file.resolve().is_relative_to(root)):
                yield file
