"""What is stored, how large it is, and how well the indexes do: for operators, over all tenants."""

from dataclasses import dataclass
from typing import Literal

import asyncpg

from ragents.rag.store.pgvector.indexes import (
    EXACT_BELOW,
    EXACT_DIMENSION,
    MAX_DIMENSION,
    all_tenants,
    owner_connection,
)
from ragents.rag.store.pgvector.statements import SQL

IndexState = Literal["valid", "building", "invalid", "missing", "not needed"]
STATEMENT_TIMEOUT_S = 60.0
TOP_K = 10


@dataclass(frozen=True, slots=True)
class IndexStats:
    name: str
    bytes: int
    valid: bool


@dataclass(frozen=True, slots=True)
class TableStats:
    """`rows` is Postgres's own estimate, and None before its first ANALYZE."""

    name: str
    rows: int | None
    table_bytes: int
    index_bytes: int
    indexes: tuple[IndexStats, ...]


@dataclass(frozen=True, slots=True)
class CollectionStats:
    """`bytes` is estimated from a sample of rows, indexes apart. `drift` is how far the true average length is from the
    one that BM25 scores were made with. `recall` (at 10, through the index, of stored vectors as questions) is None
    where every search is exact.
    """

    tenant: str
    name: str
    documents: int
    chunks: int
    dimension: int
    embedding_model: str
    language: str
    epoch: int
    bytes: int
    index: IndexState
    index_bytes: int
    drift: float
    recall: float | None


@dataclass(frozen=True, slots=True)
class StoreStats:
    database_bytes: int
    tables: tuple[TableStats, ...]
    collections: tuple[CollectionStats, ...]


async def store_stats(migrate_dsn: str, *, samples: int = 20, exact_below: int = EXACT_BELOW) -> StoreStats:
    """`samples` questions per indexed collection, each searched twice. StoreUnavailable without a server."""
    async with owner_connection(migrate_dsn) as db:
        await db.execute(f"SET statement_timeout = {int(STATEMENT_TIMEOUT_S * 1000)}")
        schema = await db.fetchval(SQL["vector_schema"])
        await db.execute(f"SET search_path = pg_catalog, {schema}")
        indexes: dict[str, list[IndexStats]] = {}
        for row in await db.fetch(SQL["index_sizes"]):
            indexes.setdefault(row["table"], []).append(IndexStats(row["name"], row["bytes"], row["valid"]))
        tables = tuple(
            TableStats(
                row["name"], row["rows"], row["table_bytes"], row["index_bytes"], tuple(indexes.get(row["name"], ()))
            )
            for row in await db.fetch(SQL["table_sizes"])
        )
        async with all_tenants(db):
            wanted = exact_below * EXACT_DIMENSION
            rows = await db.fetch(SQL["collection_stats"], wanted, MAX_DIMENSION)
            collections = tuple([await _collection(db, row, samples) for row in rows])
        return StoreStats(await db.fetchval(SQL["database_size"]), tables, collections)


async def _collection(db: asyncpg.Connection, row: asyncpg.Record, samples: int) -> CollectionStats:
    values = {key: row[key] for key in CollectionStats.__slots__ if key in row.keys()}  # noqa: SIM118  # a Record is no dict
    recall = None
    if row["index"] == "valid" and samples:
        asked = (row["tenant"], row["id"], row["name"], samples, TOP_K, row["space"])
        recall = await db.fetchval(SQL["recall"], *asked)
    return CollectionStats(**values, recall=recall)
