"""Conversations that survive the process: LangGraph's BaseCheckpointSaver is the port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ragents.agents.checkpointing.types import CheckpointConfig
from ragents.errors import ConfigError

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver

__all__ = ["CheckpointConfig", "open_checkpoint_saver"]


@asynccontextmanager
async def open_checkpoint_saver(
    config: CheckpointConfig, *, dsn: str | None = None
) -> "AsyncIterator[BaseCheckpointSaver[str]]":
    """The saver that `config` names; `dsn` is the store's database, used when `postgres_url` is not set."""
    # Imported here: reading the settings must not load LangGraph.
    match config.backend:
        case "memory":
            from langgraph.checkpoint.memory import InMemorySaver  # noqa: PLC0415

            from ragents.agents.checkpointing.serializer import strict_serializer  # noqa: PLC0415

            yield InMemorySaver(serde=strict_serializer())
        case "postgres":
            from ragents.agents.checkpointing.postgres import open_postgres_saver  # noqa: PLC0415

            url = config.postgres_url.get_secret_value() if config.postgres_url else dsn
            if url is None:
                raise ConfigError("checkpoint.postgres_url is not set and the store has no Postgres; set it")
            async with open_postgres_saver(config, url) as saver:
                yield saver
