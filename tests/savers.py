"""The durable checkpoint savers that the conformance tests run over, and a way to look at their raw rows."""

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import asyncpg
import pytest

from ragents.agents.checkpointing import open_thread_state
from ragents.agents.checkpointing.base import DurableSaver
from ragents.agents.checkpointing.codec import Codec
from ragents.agents.checkpointing.framing import framed, parts_of
from ragents.agents.checkpointing.leases import Leases
from ragents.agents.checkpointing.postgres import PostgresCheckpointSaver, PostgresLeases
from ragents.agents.checkpointing.postgres.text import to_text
from ragents.agents.checkpointing.redis import RedisCheckpointSaver, RedisLeases, Server, open_redis
from ragents.agents.checkpointing.redis.keys import thread_keys
from ragents.agents.checkpointing.serializer import strict_serializer
from ragents.agents.checkpointing.types import CheckpointConfig

KEY, OTHER_KEY = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"enable_compression": False},
    "compressed": {},
    "encrypted": {"encryption_keys": [KEY]},
}


@dataclass(frozen=True)
class RawValue:
    """A stored value. `where` is the backend's own way to name it."""

    kind: Literal["checkpoint", "write", "large"]
    where: Any
    payload: bytes


class Store(Protocol):
    """A backend under test. `open` takes fields of CheckpointConfig."""

    def open(self, **overrides: Any) -> AbstractAsyncContextManager[DurableSaver]: ...

    def leases(self, saver: DurableSaver) -> Leases: ...

    async def raw(self, saver: DurableSaver, thread: str, tenant: str = "") -> list[RawValue]: ...

    async def overwrite(self, saver: DurableSaver, value: RawValue, payload: bytes) -> None: ...


class RedisStore:
    def __init__(self, url: str) -> None:
        self.url = url

    @asynccontextmanager
    async def open(self, **overrides: Any) -> AsyncIterator[DurableSaver]:
        config = CheckpointConfig.model_validate({"backend": "redis", "redis_url": self.url, **overrides})
        async with open_redis(config) as client:
            yield RedisCheckpointSaver(
                Server(client, timeout_s=config.statement_timeout_s, at_once=config.pool_size),
                serde=strict_serializer(config.allowed_types),
                codec=Codec(compress=config.enable_compression, keys=config.keys),
                ttl_s=config.ttl_s,
                max_checkpoints=config.max_checkpoints_per_thread,
            )

    def leases(self, saver: DurableSaver) -> Leases:
        return RedisLeases(saver._server)

    async def raw(self, saver: DurableSaver, thread: str, tenant: str = "") -> list[RawValue]:
        key = thread_keys(tenant, thread)[0]
        kinds = {b"c": "checkpoint", b"w": "write", b"b": "large"}
        found = []
        for name, row in sorted((await saver._server.client.hgetall(key)).items()):
            if kind := kinds.get(name[:1]):
                found.append(RawValue(kind, (key, name), row if kind == "large" else parts_of(row)[-1]))
        return found

    async def overwrite(self, saver: DurableSaver, value: RawValue, payload: bytes) -> None:
        key, name = value.where
        client = saver._server.client
        row = payload if value.kind == "large" else framed([*parts_of(await client.hget(key, name))[:-1], payload])
        await client.hset(key, name, row)


class PostgresStore:
    """`dsn` is the role that serves; `owner` sees every row."""

    def __init__(self, dsn: str, owner: str) -> None:
        self.dsn, self.owner = dsn, owner

    @asynccontextmanager
    async def open(self, **overrides: Any) -> AsyncIterator[DurableSaver]:
        config = CheckpointConfig.model_validate({"postgres_url": self.dsn, **overrides})
        async with open_thread_state(config) as state:
            assert isinstance(state.saver, DurableSaver)
            yield state.saver

    def leases(self, saver: DurableSaver) -> Leases:
        assert isinstance(saver, PostgresCheckpointSaver)
        return PostgresLeases(saver.connections)

    async def raw(self, saver: DurableSaver, thread: str, tenant: str = "") -> list[RawValue]:
        found: list[RawValue] = []
        for kind, table in TABLES.items():
            column = "records" if kind == "write" else "ARRAY[payload]"
            rows = await self._query(
                f"SELECT ctid::text, {column} AS payloads FROM ragents_threads.{table} AS langgraph "
                "WHERE tenant = $1 AND thread_id = $2 ORDER BY langgraph.ctid",
                to_text(tenant),
                to_text(thread),
            )
            for row in rows:
                for place, value in enumerate(row["payloads"], start=1):
                    payload = parts_of(value[4:])[-1] if kind == "write" else value
                    found.append(RawValue(kind, (row["ctid"], place), payload))
        return found

    async def overwrite(self, saver: DurableSaver, value: RawValue, payload: bytes) -> None:
        table, (row, place) = f"ragents_threads.{TABLES[value.kind]}", value.where
        column = "payload"
        if value.kind == "write":
            column = f"records[{place}]"
            found = await self._query(f"SELECT {column} AS record FROM {table} WHERE ctid = $1::text::tid", row)
            record = found[0]["record"]
            payload = record[:4] + framed([*parts_of(record[4:])[:-1], payload])
        await self._query(f"UPDATE {table} SET {column} = $2 WHERE ctid = $1::text::tid", row, payload)

    async def _query(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.owner)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
        finally:
            await connection.close()
        return rows


TABLES: dict[Literal["checkpoint", "write", "large"], str] = {
    "checkpoint": "langgraph_checkpoints",
    "write": "langgraph_writes",
    "large": "langgraph_blobs",
}


def _postgres(request: pytest.FixtureRequest) -> Store:
    return PostgresStore(request.getfixturevalue("migrated"), request.getfixturevalue("postgres"))


STORES: dict[str, Callable[[pytest.FixtureRequest], Store]] = {
    "postgres": _postgres,
    "redis": lambda request: RedisStore(request.getfixturevalue("redis_url")),
}
