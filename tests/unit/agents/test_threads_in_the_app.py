"""The whole app with its threads on Redis, and a question asked back that is answered by another app."""

from pathlib import Path

import pytest

from ragents.agents import Turn
from ragents.agents.checkpointing.redis import RedisCheckpointSaver
from ragents.deployment.app import open_app
from ragents.deployment.config import ServiceConfig
from ragents.errors import BackendUnavailable, ConfigError
from ragents.principal import Principal
from tests.doubles import add_document
from tests.redis_server import RedisServer


def settings(url: str) -> ServiceConfig:
    return ServiceConfig.model_validate(
        {
            "store": {"backend": "memory"},
            "embeddings": {"backend": "hashing"},
            "checkpoint": {"backend": "redis", "redis_url": url, "connect_timeout_s": 2},
        }
    )


async def test_threads_on_redis_outlive_the_app(redis_url: str, principal: Principal) -> None:
    turn = Turn(principal=principal)
    async with open_app(settings(redis_url)) as app:
        await add_document(app.engine, "a.md", ["Nothing about it."], principal=principal)
        assert isinstance(app.threads.saver, RedisCheckpointSaver)
        asked = await app.conversations.ask(
            "How many days lie between the two dates?", agent_type="logical", thread_id="t", turn=turn
        )
        assert asked.pending is not None
    async with open_app(settings(redis_url)) as app:
        await add_document(app.engine, "a.md", ["Nothing about it."], principal=principal)
        answer = await app.conversations.resume("2024-02-28 and 2024-03-01", thread_id="t", turn=turn)
        assert "2 days" in answer.answer
        await app.conversations.forget("t", principal=principal)


async def test_a_redis_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="checkpointer"):
        async with open_app(settings(f"unix://{tmp_path}/none.sock")):
            pass


async def test_a_redis_that_evicts_stops_the_start(home: Path) -> None:
    directory = home / "evicting"
    directory.mkdir()
    server = RedisServer(directory, maxmemory="50mb", maxmemory_policy="allkeys-lru")
    server.start()
    try:
        with pytest.raises(ConfigError, match="noeviction"):
            async with open_app(settings(server.url)):
                pass
    finally:
        server.stop()
