"""A worker whose listening process has ended before the worker could ask to be told of that."""

import os
import subprocess
import sys

import pytest

WORKER = """
from bentoml import server_context
server_context.worker_index = {index}
from ragents.deployment.process import end_with_listener
end_with_listener()
print("goes on")
"""


def start(listener: int, *, index: int | None = 1) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "_RAGENTS_LISTENER": str(listener)}
    command = [sys.executable, "-c", WORKER.format(index=index)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(30)
    return ended.pid


def test_a_worker_whose_listening_process_is_gone_ends_before_it_opens_anything(gone: int) -> None:
    ended = start(gone)
    assert (ended.returncode, ended.stdout) == (1, ""), ended.stderr


def test_a_worker_of_a_living_process_and_what_is_no_worker_go_on(gone: int) -> None:
    for started in (start(os.getpid()), start(gone, index=None)):
        assert (started.returncode, started.stdout) == (0, "goes on\n"), started.stderr
