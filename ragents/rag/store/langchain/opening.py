"""open_langchain: Postgres as for the postgres backend, and the store that `store.class` names."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ragents.rag.store.langchain.index import VectorIndex, find_class
from ragents.rag.store.langchain.migrate import check_vectors, migrate_vectors
from ragents.rag.store.langchain.store import LangChainVectorStore
from ragents.rag.store.pgvector import open_pgvector
from ragents.rag.store.types import StoreConfig


@asynccontextmanager
async def open_langchain(
    dsn: str, config: StoreConfig, *, migrate_dsn: str | None = None
) -> AsyncIterator[LangChainVectorStore]:
    """Nothing is asked of the vector store yet: it is connected at the first use, which knows the dimension.

    ConfigError as from `open_pgvector`, for a class that is not there or no VectorStore, for arguments that it does not
    take, and for a missing schema where `migrate_dsn` is not given.
    """
    index = VectorIndex(find_class(config.class_), config.args, timeout_s=config.statement_timeout_s)
    index.check()
    try:
        if migrate_dsn is not None:
            await migrate_vectors(migrate_dsn, dsn=dsn)
        async with open_pgvector(dsn, config) as record:
            async with record.connections.use() as db:
                await check_vectors(db)
            yield LangChainVectorStore(record.connections, index=index, language=config.language)
    finally:
        await index.close()
