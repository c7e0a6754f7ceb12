"""The log of runs on Postgres."""

from collections.abc import Sequence

from langgraph.checkpoint.serde.base import SerializerProtocol

from ragents.agents.checkpointing.codec import Codec
from ragents.agents.checkpointing.postgres.text import to_text
from ragents.agents.checkpointing.run_log import Entry, Page, entry_place
from ragents.postgres import Connections


class PostgresRunLog:
    """See ragents.agents.checkpointing.run_log."""

    def __init__(self, connections: Connections, *, serde: SerializerProtocol, codec: Codec) -> None:
        self._connections = connections
        self._serde = serde
        self._codec = codec

    async def append(self, tenant: str, run: str, entries: Sequence[Entry], *, ttl_s: float) -> None:
        sealed = [self._codec.encode(self._serde, data, entry_place(tenant, run, n)) for n, _, data in entries]
        async with self._connections.use() as db:
            await db.fetchval(
                "SELECT ragents_threads.append_events($1, $2, $3, $4, $5, $6)",
                to_text(tenant),
                to_text(run),
                ttl_s,
                [number for number, _, _ in entries],
                [name for _, name, _ in entries],
                sealed,
            )

    async def read(self, tenant: str, run: str, *, after: int, limit: int = 500) -> Page | None:
        async with self._connections.use() as db:
            rows = await db.fetch(
                "SELECT * FROM ragents_threads.read_events($1, $2, $3, $4)", to_text(tenant), to_text(run), after, limit
            )
        if not rows:
            return None
        entries = [
            (number, name, self._codec.decode(self._serde, payload, entry_place(tenant, run, number)))
            for _, number, name, payload in rows
            if number is not None
        ]
        return Page(entries, rows[0]["silent_s"])

    async def unread_s(self, tenant: str, run: str) -> float | None:
        async with self._connections.use() as db:
            seconds: float | None = await db.fetchval(
                "SELECT ragents_threads.unread_s($1, $2)", to_text(tenant), to_text(run)
            )
        return seconds
