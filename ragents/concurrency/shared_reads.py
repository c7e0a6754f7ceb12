"""Equal reads that wait at the same time are one."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SharedReads(Generic[Key, Value]):
    """Each caller gets what a read found that began after it asked, so it sees all that was committed before.

    A read that is on its way is not joined: whoever comes meanwhile shares the next one. Alone a read begins at once.
    """

    def __init__(self, read: Callable[[Key], Awaitable[Value]]) -> None:
        """`read` must end in time by itself."""
        self._read = read
        self._waiting: dict[Key, list[asyncio.Future[Value]]] = {}
        self._readers: set[asyncio.Task[None]] = set()  # the loop itself holds tasks weakly

    async def get(self, key: Key) -> Value:
        """What `read(key)` gives or raises."""
        done: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        if key in self._waiting:
            self._waiting[key].append(done)
        else:
            self._waiting[key] = [done]
            reader = asyncio.create_task(self._serve(key))
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
        return await done

    async def _serve(self, key: Key) -> None:
        served: list[asyncio.Future[Value]] = []
        try:
            while self._waiting[key]:
                served, self._waiting[key] = self._waiting[key], []
                try:
                    value = await self._read(key)
                except Exception as error:
                    for done in served:
                        if not done.done():
                            done.set_exception(error)
                else:
                    for done in served:
                        if not done.done():
                            done.set_result(value)
        finally:
            for done in (*served, *self._waiting.pop(key)):  # when this task is cancelled
                done.cancel()
