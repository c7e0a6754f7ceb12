"""What tracing costs while nobody takes the spans: CPU time per question, and memory, beside a service without it.

Three servers on the doubles that ship, so that little hides the difference: without an address; with every question
traced to an OTLP receiver and an Opik that read and never answer; and so with one question in ten. They are asked in
turn, in blocks, the same questions over HTTP, each new to the caches. Time is CPU time of the server's process, all its
threads included; a ratio is of two blocks that follow each other, and the median of those is printed beside that of the
sums. BENCH_QUESTIONS is per server.
"""

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from benchmarks.processes import cpu_ms
from tests.ports import free_port
from tests.processes import end

QUESTIONS = int(os.environ.get("BENCH_QUESTIONS", "10000"))
BLOCK, CLIENTS, WARM = 250, 4, 500
ROOT = Path(__file__).parents[1]
SETTINGS: dict[str, Any] = {
    "embeddings": {"backend": "hashing"},
    "store": {"backend": "memory"},
    "checkpoint": {"backend": "memory"},
    "rag": {"min_confidence": 0.0},
    "cache": {"max_cache_size_mb": 20},
    "rate_limit": {"enabled": False},
}
ALL, TENTH, OFF = "every question", "one in ten", "off"


def run() -> list[dict[str, object]]:
    return asyncio.run(measure())


async def measure() -> list[dict[str, object]]:
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rb-")))
        sink = stack.enter_context(hanging_server())
        servers = {
            name: stack.enter_context(server(home / str(n), {**SETTINGS, "observability": observability}))
            for n, (name, observability) in enumerate(
                {OFF: {}, ALL: traced(sink, 1.0), TENTH: traced(sink, 0.1)}.items()
            )
        }
        blocks: dict[str, list[tuple[float, float]]] = {name: [] for name in servers}
        async with httpx.AsyncClient(timeout=60) as client:
            for name, (url, _) in servers.items():
                await forget(client, url, await ask(client, url, range(WARM), name))
            names = list(servers)
            for number in range(QUESTIONS // BLOCK):
                for name in names if number % 2 else reversed(names):
                    url, pid = servers[name]
                    before = cpu_ms(pid)
                    threads = await ask(client, url, range(number * BLOCK, (number + 1) * BLOCK), "measured")
                    took = (cpu_ms(pid) - before) / BLOCK
                    await forget(client, url, threads)
                    blocks[name].append((took, rss_mb(pid)))
            lost = {name: await dropped(client, url) for name, (url, _) in servers.items()}
    return [row(name, found, blocks[OFF], lost[name]) for name, found in blocks.items()]


def row(name: str, found: list[tuple[float, float]], off: list[tuple[float, float]], lost: float) -> dict[str, object]:
    cpu, rss = [each for each, _ in found], [each for _, each in found]
    ratios = [ours / theirs for ours, (theirs, _) in zip(cpu, off, strict=True)]
    tenth = max(1, len(rss) // 10)
    made: dict[str, object] = {
        "name": name,
        "questions": len(found) * BLOCK,
        "cpu_ms": round(statistics.mean(cpu), 3),
        "ratio_of_sums": round(sum(cpu) / sum(each for each, _ in off), 3),
        "median_ratio": round(statistics.median(ratios), 3),
        "rss_mb_first_tenth": round(statistics.mean(rss[:tenth]), 1),
        "rss_mb_middle": round(rss[len(rss) // 2], 1),
        "rss_mb_last_tenth": round(statistics.mean(rss[-tenth:]), 1),
        "spans_dropped": int(lost),
    }
    print(", ".join(f"{key}: {value}" for key, value in made.items()), flush=True)
    return made


def traced(sink: str, rate: float) -> dict[str, Any]:
    return {"otlp": {"endpoint": sink, "sample_rate": rate}, "opik": {"url": sink, "sample_rate": rate}}


async def ask(client: httpx.AsyncClient, url: str, numbers: range, kind: str) -> list[str]:
    """The threads that were begun."""
    waiting, threads = iter(numbers), list[str]()

    async def one_after_the_other() -> None:
        for number in waiting:
            body = {"query": f"Where does adaptive batching sit in {kind} case {number}?"}
            response = await client.post(f"{url}/query", json=body)
            threads.append(response.raise_for_status().json()["thread_id"])

    await asyncio.gather(*(one_after_the_other() for _ in range(CLIENTS)))
    return threads


async def forget(client: httpx.AsyncClient, url: str, threads: list[str]) -> None:
    """The double that keeps threads keeps them in memory, which would hide what tracing takes."""
    for thread in threads:
        (await client.delete(f"{url}/threads/{thread}")).raise_for_status()


async def dropped(client: httpx.AsyncClient, url: str) -> float:
    lines = (await client.get(f"{url}/metrics")).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("rag_tracing_dropped_total{"))


def rss_mb(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / 2**20


@contextmanager
def server(home: Path, settings: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Its address and process id."""
    home.mkdir()
    (home / "metrics").mkdir()
    (home / "settings.yaml").write_text(yaml.safe_dump(settings))
    port = free_port()
    environment = os.environ | {
        "RAGENTS_CONFIG": str(home / "settings.yaml"),
        "RAGENTS_HOME": str(home),
        "BENTOML_HOME": str(home / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "true",
        "PROMETHEUS_MULTIPROC_DIR": str(home / "metrics"),
    }
    command = [sys.executable, "-m", "benchmarks.tracing_server", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        while (line := process.stdout.readline()).strip() != "ready":
            if not line:
                raise RuntimeError(f"the server did not start: status {process.wait(10)}")
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        end(process, 30)


@contextmanager
def hanging_server() -> Iterator[str]:
    """Takes every connection, reads what comes, and never says anything."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    open_connections: list[socket.socket] = []

    def swallow(connection: socket.socket) -> None:
        try:
            while connection.recv(65_536):
                pass
        except OSError:
            pass

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_connections.append(connection)
            threading.Thread(target=swallow, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()
        for connection in open_connections:
            connection.close()
