"""A SearchQuery as the arguments of ragents.search, and its rows as sources."""

import json

import asyncpg

from ragents.errors import Conflict
from ragents.postgres.connections import Connections
from ragents.rag.filters import Check, parse_filters
from ragents.rag.store.diversity import check_diversity, diversify, pool_size
from ragents.rag.store.pgvector.codec import encode_vector
from ragents.rag.store.pgvector.rows import source_of
from ragents.rag.store.pgvector.statements import SQL
from ragents.rag.store.text import clean, unknown_collection
from ragents.rag.store.types import SearchQuery
from ragents.rag.types import Source

REPLICA_IS_BEHIND = "RA001"


class ReplicaBehind(Exception):
    """The replica has not yet replayed a change that this process knows of."""


async def search(
    connections: Connections, query: SearchQuery, *, tenant: str, exact_below: int, min_epoch: int | None = None
) -> list[Source]:
    """One round trip. With `min_epoch`, ReplicaBehind from a server whose collection is older."""
    if query.embedding is None and query.mode != "lexical":
        raise ValueError(f"mode {query.mode!r} needs an embedding")
    check_diversity(query)
    asked = arguments(query, tenant=tenant, exact_below=exact_below, min_epoch=min_epoch)
    async with connections.use() as db:
        try:
            rows = await db.fetch(SQL["search"], *asked)
        except asyncpg.NoDataFoundError:
            raise unknown_collection(query.collection) from None
        except asyncpg.DataError as error:
            dimension = 0 if query.embedding is None else len(query.embedding)
            raise Conflict(
                f"collection {query.collection!r} holds vectors of another dimension than the encoder's ({dimension}); "
                "use the model it was made with, or move it to the encoder's with `ragents reembed`"
            ) from error
        except asyncpg.PostgresError as error:
            if error.sqlstate == REPLICA_IS_BEHIND:
                raise ReplicaBehind from None
            raise
    sources = [source_of(row) for row in rows]
    return diversify(sources, [row["embedding"] for row in rows], query) if query.mmr_lambda is not None else sources


def arguments(
    query: SearchQuery, *, tenant: str, exact_below: int, min_epoch: int | None = None, with_vectors: bool = False
) -> list[object]:
    """Of ragents.search."""
    diverse = query.mmr_lambda is not None
    checks = parse_filters(query.filters)
    return [
        tenant,
        clean(query.collection),
        clean(query.text),
        None if query.embedding is None else encode_vector(query.embedding),
        query.mode,
        pool_size(query) if diverse else query.top_k,
        max(query.candidates, query.top_k),
        query.dense_weight,
        [check.key for check in checks],
        [check.op for check in checks],
        [json.dumps(_value(check)) for check in checks],
        None if diverse else query.max_per_document,
        diverse or with_vectors,
        min_epoch,
        exact_below,
    ]


def _value(check: Check) -> object:
    return list(check.value) if isinstance(check.value, tuple) else check.value
