"""Each server has a directory for its metrics, whatever becomes of it and of the others."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
from ragents.deployment.observability.directory import open_directory
print(open_directory(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""

Process = subprocess.Popen[str]
Start = Callable[[], tuple[Process, Path]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A process that has opened its directory, with a file in it, and ends when its standard input does."""
    started: list[Process] = []

    def run() -> tuple[Process, Path]:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "metrics")]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        directory = Path(process.stdout.readline().strip())
        (directory / "counter_1.db").write_bytes(b"1")
        return process, directory

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_a_server_that_starts_leaves_the_directory_of_one_that_runs(start: Start) -> None:
    _, first = start()
    _, second = start()
    assert first != second
    assert (first / "counter_1.db").is_file()


def test_what_a_killed_server_left_goes_when_the_next_one_starts(start: Start, tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "server-of-nobody").touch()  # no directory: not ours
    killed, left = start()
    killed.send_signal(signal.SIGKILL)
    killed.wait(10)
    assert left.is_dir()
    _, own = start()
    assert not left.exists()
    assert sorted(path.name for path in own.parent.iterdir()) == sorted([own.name, "server-of-nobody"])


def test_a_server_that_ends_takes_its_directory_along(start: Start) -> None:
    process, directory = start()
    process.communicate(timeout=30)
    assert not directory.exists()
