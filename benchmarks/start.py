"""From the command to ready, and memory per worker: ours beside an empty BentoML service, interleaved.

Ours is the second start: the environment, the cluster and the encoder's graph are there.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.ports import free_port
from tests.processes import wait_until_ready

ROUNDS = 3
START_TIMEOUT_S = 120
EMPTY = """
import bentoml

@bentoml.service(name="empty", http={"host": "127.0.0.1"}, endpoints={"livez": "/livez", "readyz": "/readyz"})
class Empty:
    @bentoml.api
    async def nothing(self) -> dict:
        return {}
"""


def run() -> list[dict[str, object]]:
    root = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory(prefix="rb-") as directory:
        home = Path(directory)
        home.chmod(0o755)
        (home / "empty").mkdir()
        (home / "empty" / "service.py").write_text(EMPTY)
        ours, floor = [], []
        for number in range(ROUNDS + 1):
            found = (
                measure([sys.executable, "-m", "bentoml", "serve"], root, home),
                measure([sys.executable, "-m", "bentoml", "serve", "service:Empty"], home / "empty", home),
            )
            if number:  # the first of ours makes the cluster and the graph
                ours.append(found[0])
                floor.append(found[1])
    rows = [row("ragents", ours), row("empty BentoML service", floor)]
    ratio = float(rows[0]["ready_s"]) / float(rows[1]["ready_s"])  # type: ignore[arg-type]
    print(f"{'':24}{'ready s':>9}{'worker RSS MB':>15}")
    for each in rows:
        print(f"{each['name']:24}{each['ready_s']:>9.2f}{each['worker_rss_mb']:>15.0f}")
    print(f"ratio of ready: {ratio:.2f}; medians of {ROUNDS} rounds")
    return [*rows, {"name": "ratio", "ready": round(ratio, 2)}]


def row(name: str, found: list[tuple[float, float]]) -> dict[str, object]:
    return {
        "name": name,
        "ready_s": round(statistics.median(s for s, _ in found), 2),
        "worker_rss_mb": round(statistics.median(mb for _, mb in found)),
    }


def measure(command: list[str], cwd: Path, home: Path) -> tuple[float, float]:
    """(seconds to ready, MB of the worker)"""
    port = free_port()
    environment = os.environ | {
        "RAGENTS_HOME": str(home / "home"),
        "BENTOML_HOME": str(home / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "true",
    }
    started = time.perf_counter()
    server = subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=cwd,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_ready(server, f"http://127.0.0.1:{port}/readyz", START_TIMEOUT_S)
        seconds = time.perf_counter() - started
        children = psutil.Process(server.pid).children()
        worker = max(child.memory_info().rss for child in children) / 1024**2
    finally:
        server.terminate()
        server.wait(60)
    return seconds, worker
