"""What one call of store.lua takes: everything that came together."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import RedisCluster

from ragents.agents.checkpointing.redis.scripts import Argument, Script, Server

STORE = Script("store")
AT_ONCE = 2
MOST = 32

Reply = int | list[bytes]
"""0: stored. TAKEN: the thread is held under another number. Else the refs of large values that are missing."""
TAKEN = 1


@dataclass(frozen=True, slots=True)
class Item:
    """A checkpoint or the writes of a task. `keys` of its thread, `data` framed as store.lua wants it."""

    keys: tuple[str, str, str]
    data: bytes


class Storing:
    """`together` is for `Batches`. In a cluster only the items of one thread go together: a script has one slot."""

    def __init__(self, server: Server, *, ttl_ms: int) -> None:
        self._server = server
        self._ttl_ms = ttl_ms
        self._one_slot = isinstance(server.client, RedisCluster)

    async def together(self, items: Sequence[Item]) -> Sequence[Reply | Exception]:
        if not self._one_slot:
            return await self._store(items)
        threads: dict[tuple[str, str, str], list[int]] = {}
        for place, item in enumerate(items):
            threads.setdefault(item.keys, []).append(place)
        replies: list[Reply | Exception] = [0] * len(items)

        async def store(places: Sequence[int]) -> None:
            try:
                found = await self._store([items[place] for place in places])
            except Exception as error:
                found = [error] * len(places)
            for place, reply in zip(places, found, strict=True):
                replies[place] = reply

        await asyncio.gather(*(store(places) for places in threads.values()))
        return replies

    async def _store(self, items: Sequence[Item]) -> Sequence[Reply | Exception]:
        replies = await self._run(items)
        if any(isinstance(reply, Exception) for reply in replies):
            # Alone, so that the error is the call's, and told as any other.
            return [
                await self._alone(item) if isinstance(reply, Exception) else reply
                for item, reply in zip(items, replies, strict=True)
            ]
        return replies

    async def _alone(self, item: Item) -> Reply | Exception:
        try:
            return (await self._run([item]))[0]
        except Exception as error:
            return error

    async def _run(self, items: Sequence[Item]) -> list[Reply | Exception]:
        keys: list[str] = []
        arguments: list[Argument] = [self._ttl_ms]
        for item in items:
            keys += item.keys
            arguments.append(item.data)
        replies: list[Reply | Exception] = await self._server.run(STORE, keys, arguments, again=True)
        return replies
