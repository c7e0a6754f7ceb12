"""The encoder's graph on disk: built once per model, found again by what it is made of, checked before each use."""

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ragents.embeddings.weights import sha256_of

log = logging.getLogger(__name__)

STALE_AFTER_S = 3600
"""What lies around longer than this is left from an older recipe or from a process that was killed."""


def cached_graph(directory: Path, *, recipe: str, build: Callable[[], bytes]) -> Path | bytes:
    """The graph's file in `directory`, built where it is missing or damaged; its bytes where nothing can be written.

    The name is RECIPE-SHA256.onnx and a file comes to be by renaming: several processes may race, and a file cannot
    be half written without its name telling.
    """
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:16]
    if (file := _find_intact(directory, digest)) is not None:
        return file
    started = time.perf_counter()
    graph = build()
    try:
        file = _write(directory, digest, graph)
    except OSError as error:
        log.warning("the encoder's graph cannot be kept in %s (%s); it is built at every start", directory, error)
        return graph
    log.info("built the encoder's graph %s in %.1f s", file, time.perf_counter() - started)
    return file


def _find_intact(directory: Path, digest: str) -> Path | None:
    try:
        for file in sorted(directory.glob(f"{digest}-*.onnx")):
            if sha256_of(file) == file.stem.partition("-")[2]:
                return file
            log.warning("%s is damaged; the encoder's graph is built again", file)
    except OSError as error:
        log.warning("the encoder's graph in %s cannot be read: %s", directory, error)
    return None


def _write(directory: Path, digest: str, graph: bytes) -> Path:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = directory / f"{digest}-{hashlib.sha256(graph).hexdigest()}.onnx"
    handle, part = tempfile.mkstemp(dir=directory, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(graph)
        os.replace(part, file)
    except OSError:
        Path(part).unlink(missing_ok=True)
        raise
    _sweep(directory, keep=file)
    return file


def _sweep(directory: Path, *, keep: Path) -> None:
    """Young files stay: another process may be writing or opening them."""
    for file in (*directory.glob("*.onnx"), *directory.glob("*.part")):
        try:
            if file != keep and time.time() - file.stat().st_mtime > STALE_AFTER_S:
                file.unlink()
        except OSError as error:  # somebody else was faster, or it is not ours
            log.debug("%s stays: %s", file, error)
