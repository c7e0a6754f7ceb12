"""A worker's thread is reused, left behind when it hangs, and never keeps the process from ending."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragents.ingestion.worker import Worker

PROGRAM = """
import os, sys, threading
from ragents.cli.main import cli
from ragents.ingestion import loading
from ragents.rag.loaders import LoadLimits, load

def hanging(path, **options):
    if path.name == "hangs.md":
        threading.Event().wait()
    yield from load(path, **options)

loading.load = hanging
LoadLimits.model_fields["timeout_s"].default = 0.5
LoadLimits.model_rebuild(force=True)
cli(["ingest", sys.argv[1], "--json"])
"""


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker("test")
    yield made
    made.close()


async def test_what_the_work_raises_is_raised_and_the_thread_goes_on(worker: Worker) -> None:
    before = await worker.run(threading.get_ident, timeout_s=5)
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0, timeout_s=5)
    assert await worker.run(threading.get_ident, timeout_s=5) == before


async def test_a_thread_that_hangs_is_left_behind_and_ends_when_it_comes_back(worker: Worker) -> None:
    back, threads = threading.Event(), []

    def hang() -> None:
        threads.append(threading.current_thread())
        back.wait()

    with pytest.raises(TimeoutError):
        await worker.run(hang, timeout_s=0.5)
    assert await worker.run(threading.get_ident, timeout_s=5) != threads[0].ident
    assert threads[0].daemon
    back.set()
    await asyncio.to_thread(threads[0].join, 5)
    assert not threads[0].is_alive()


async def test_a_time_out_of_the_works_own_leaves_nothing_behind(worker: Worker) -> None:
    def late() -> None:
        raise TimeoutError("a socket's")

    before = await worker.run(threading.get_ident, timeout_s=5)
    with pytest.raises(TimeoutError, match="a socket's"):
        await worker.run(late, timeout_s=5)
    assert await worker.run(threading.get_ident, timeout_s=5) == before


async def test_cancelling_does_not_wait_for_the_thread(worker: Worker) -> None:
    back, begun = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        back.wait()

    task = asyncio.create_task(worker.run(hang, timeout_s=60))
    await asyncio.to_thread(begun.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await task
    back.set()


def test_a_loader_that_hangs_is_reported_and_the_program_ends(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    for name in ("a.md", "hangs.md", "z.md"):
        (folder / name).write_text(f"# {name}\n\nSome text.\n")
    environment = {
        **os.environ,
        "RAGENTS_HOME": str(tmp_path),
        "RAGENTS_STORE__BACKEND": "memory",
        "RAGENTS_EMBEDDINGS__BACKEND": "hashing",
        "RAGENTS_CHECKPOINT__BACKEND": "memory",
    }
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout)
    assert report["created"] == 2
    assert [(each["uri"], each["reason"]) for each in report["failures"]] == [("documents/hangs.md", "unreadable")]
