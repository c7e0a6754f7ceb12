"""For tests and benchmarks of processes: a wait for what no event tells, an end that is one."""

import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any


def wait_for(holds: Callable[[], object], what: str, timeout_s: float, *, every_s: float = 0.05) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(every_s)


def wait_until_ready(process: "subprocess.Popen[Any]", url: str, timeout_s: float, *, log: Path | None = None) -> None:
    """Until `url` answers 200. AssertionError with the log's end once the process has ended or is late."""
    deadline = time.monotonic() + timeout_s
    while process.poll() is None and time.monotonic() < deadline:
        if answers(url):
            return
        time.sleep(0.02)
    told = f"its log ends with:\n{log.read_text()[-3000:]}" if log is not None else "it has no log"
    raise AssertionError(f"{url} is not ready; status {process.poll()}; {told}")


def answers(url: str) -> bool:
    """With 200, within two seconds."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def end(process: "subprocess.Popen[Any]", timeout_s: float = 10) -> None:
    """Ask it to end, and after `timeout_s` kill it."""
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
