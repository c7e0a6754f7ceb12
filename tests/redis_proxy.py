"""A proxy in front of a redis-server, on a socket of its own: passes everything on, slowly, or nothing at all."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BLOCK = 65_536


class RedisProxy:
    """`upstream` is the socket of the server; `delay_s` holds each block of requests back; `down` hangs up."""

    def __init__(self, socket: Path, upstream: Path) -> None:
        self.socket, self.url = socket, f"unix://{socket}?db=0"
        self.upstream = upstream
        self.delay_s = 0.0
        self.down = False
        self._open: set[asyncio.StreamWriter] = set()

    def hang_up(self) -> None:
        """What is connected loses its connection, and what comes is turned away, until `down` is False again."""
        self.down = True
        self._loop.call_soon_threadsafe(lambda: [writer.close() for writer in self._open])

    def move(self, upstream: Path) -> None:
        """To another server, with new connections."""
        self.upstream = upstream
        self._loop.call_soon_threadsafe(lambda: [writer.close() for writer in self._open])

    async def serve(self, ready: threading.Event, end: asyncio.Event) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_unix_server(self._accept, str(self.socket))
        ready.set()
        await end.wait()
        server.close()
        for writer in self._open:
            writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.down:
            writer.close()
            return
        with suppress(OSError, asyncio.CancelledError):
            up_reader, up_writer = await asyncio.open_unix_connection(str(self.upstream))
            self._open |= {writer, up_writer}
            await asyncio.gather(self._pass(reader, up_writer, slow=True), self._pass(up_reader, writer, slow=False))
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(BLOCK):
                if slow and self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()
        self._open.discard(writer)
        writer.close()


@contextmanager
def open_redis_proxy(socket: Path, upstream: Path) -> Iterator[RedisProxy]:
    proxy, ready, end = RedisProxy(socket, upstream), threading.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: asyncio.run(proxy.serve(ready, end)), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield proxy
    finally:
        proxy._loop.call_soon_threadsafe(end.set)
        thread.join(10)
