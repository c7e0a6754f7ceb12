"""The log of runs in Redis: two keys per run in one slot, which expire by themselves."""

from collections.abc import Sequence
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

from ragents.agents.checkpointing.codec import Codec
from ragents.agents.checkpointing.redis.keys import log_keys
from ragents.agents.checkpointing.redis.scripts import Argument, Script, Server
from ragents.agents.checkpointing.run_log import Entry, Page, entry_place

APPEND, READ = Script("append_events", on_thread=False), Script("read_events", on_thread=False)


class RedisRunLog:
    """See ragents.agents.checkpointing.run_log."""

    def __init__(self, server: Server, *, serde: SerializerProtocol, codec: Codec) -> None:
        self._server = server
        self._serde = serde
        self._codec = codec

    async def append(self, tenant: str, run: str, entries: Sequence[Entry], *, ttl_s: float) -> None:
        arguments: list[Argument] = [max(1, int(ttl_s * 1000))]
        for number, name, data in entries:
            arguments += [number, name, self._codec.encode(self._serde, data, entry_place(tenant, run, number))]
        await self._server.run(APPEND, log_keys(tenant, run), arguments, again=True)

    async def read(self, tenant: str, run: str, *, after: int, limit: int = 500) -> Page | None:
        found = await self._server.run(READ, log_keys(tenant, run), [after, limit], again=True)
        if found is None:
            return None
        entries = [self._entry(tenant, run, number, each) for number, each in enumerate(found[2:], start=after + 1)]
        return Page(entries, int(found[0]) / 1e6)

    async def unread_s(self, tenant: str, run: str) -> float | None:
        found: Any = await self._server.run(READ, log_keys(tenant, run), [0, 0], again=True)
        return None if not found or not found[1] else int(found[1]) / 1e6

    def _entry(self, tenant: str, run: str, number: int, event: bytes) -> Entry:
        name, _, payload = event.partition(b"\0")
        return number, name.decode(), self._codec.decode(self._serde, payload, entry_place(tenant, run, number))
