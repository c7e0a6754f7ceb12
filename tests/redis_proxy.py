"""A proxy in front of a redis-server, in a process of its own: passes everything on, slowly, or hangs up.

python -m tests.redis_proxy SOCKET ORDERS; ORDERS is a file that says what to do, and is read again and again. What is
done stands in a file beside it.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

BLOCK, LOOK_S, TIMEOUT_S = 65_536, 0.01, 20


@dataclass(frozen=True)
class Orders:
    """`delay_s` holds requests back. Changing `upstream` or `down` ends all connections."""

    upstream: str
    delay_s: float = 0.0
    down: bool = False


class RedisProxy:
    def __init__(self, socket: Path, file: Path, upstream: Path) -> None:
        self.url = f"unix://{socket}?db=0"
        self._file, self.orders = file, Orders(str(upstream))
        write(file, self.orders)

    def order(self, **changes: object) -> None:
        """It is so when this returns."""
        self.orders = replace(self.orders, **changes)  # type: ignore[arg-type]
        write(self._file, self.orders)
        until = time.monotonic() + TIMEOUT_S
        while read(self._file.with_suffix(".done")) != self.orders:
            assert time.monotonic() < until
            time.sleep(LOOK_S)


def write(file: Path, orders: Orders) -> None:
    new = file.with_name(f"{file.name}.new")
    new.write_text(json.dumps(asdict(orders)))
    new.replace(file)


def read(file: Path) -> Orders:
    return Orders(**json.loads(file.read_text()))


@contextmanager
def open_redis_proxy(socket: Path, upstream: Path) -> Iterator[RedisProxy]:
    file = socket.with_suffix(".orders")
    proxy = RedisProxy(socket, file, upstream)
    process = subprocess.Popen([sys.executable, "-m", "tests.redis_proxy", str(socket), str(file)])
    try:
        until = time.monotonic() + TIMEOUT_S
        while not file.with_suffix(".done").exists():
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.02)
        yield proxy
    finally:
        process.terminate()
        process.wait(10)


async def serve(socket: str, file: Path) -> None:
    orders = read(file)
    connected: set[asyncio.StreamWriter] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            if not orders.down:
                up_reader, up_writer = await asyncio.open_unix_connection(orders.upstream)
                both = {writer, up_writer}
                connected.update(both)
                await asyncio.gather(forward(reader, up_writer, slow=True), forward(up_reader, writer, slow=False))
                connected.difference_update(both)
        writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(BLOCK):
                if slow and orders.delay_s:
                    await asyncio.sleep(orders.delay_s)
                writer.write(data)
                await writer.drain()
        writer.close()

    await asyncio.start_unix_server(accept, socket)
    write(file.with_suffix(".done"), orders)
    while True:
        await asyncio.sleep(LOOK_S)
        before, orders = orders, read(file)
        if (before.upstream, before.down) != (orders.upstream, orders.down):
            for writer in connected:
                writer.close()
        if before != orders:
            write(file.with_suffix(".done"), orders)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2])))
