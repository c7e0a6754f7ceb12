"""Conversations that survive the process: LangGraph's BaseCheckpointSaver is the port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver

from ragents.agents.checkpointing.postgres import migrate_checkpoints, open_postgres_saver, strict_serializer
from ragents.agents.checkpointing.types import CheckpointConfig
from ragents.errors import ConfigError

__all__ = ["CheckpointConfig", "migrate_checkpoints", "open_checkpoint_saver", "strict_serializer"]


@asynccontextmanager
async def open_checkpoint_saver(
    config: CheckpointConfig, *, dsn: str | None = None
) -> AsyncIterator[BaseCheckpointSaver[str]]:
    """The saver that `config` names; `dsn` is the store's database, used when `postgres_url` is not set."""
    match config.backend:
        case "memory":
            yield InMemorySaver(serde=strict_serializer())
        case "postgres":
            url = config.postgres_url.get_secret_value() if config.postgres_url else dsn
            if url is None:
                raise ConfigError("checkpoint.postgres_url is not set and the store has no Postgres; set it")
            async with open_postgres_saver(config, url) as saver:
                yield saver
