"""Where documents live: the VectorStore port; Postgres, Postgres with its vectors indexed elsewhere, memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ragents.errors import ConfigError
from ragents.rag.store.types import SearchQuery, StoreConfig, Upserted, VectorStore

__all__ = ["SearchQuery", "StoreConfig", "Upserted", "VectorStore", "open_store"]


@asynccontextmanager
async def open_store(
    config: StoreConfig, *, dsn: str | None = None, migrate_dsn: str | None = None
) -> AsyncIterator[VectorStore]:
    """The store that `config` names; `dsn` and `migrate_dsn` instead of the configured ones (the embedded Postgres)."""
    # Imported here: reading the settings must not load a driver.
    match config.backend:
        case "memory":
            from ragents.rag.store.memory import MemoryVectorStore  # noqa: PLC0415

            yield MemoryVectorStore()
        case "postgres":
            from ragents.rag.store.pgvector import open_pgvector  # noqa: PLC0415

            url, owner = _addresses(config, dsn, migrate_dsn)
            async with open_pgvector(url, config, migrate_dsn=owner) as store:
                yield store
        case "langchain":
            from ragents.rag.store.langchain import open_langchain  # noqa: PLC0415

            url, owner = _addresses(config, dsn, migrate_dsn)
            async with open_langchain(url, config, migrate_dsn=owner) as indexed:
                yield indexed


def _addresses(config: StoreConfig, dsn: str | None, migrate_dsn: str | None) -> tuple[str, str | None]:
    url = dsn or (config.dsn.get_secret_value() if config.dsn else None)
    if url is None:
        raise ConfigError("store.dsn is not set; set RAGENTS_STORE__DSN")
    return url, migrate_dsn or (config.migrate_dsn.get_secret_value() if config.migrate_dsn else None)
