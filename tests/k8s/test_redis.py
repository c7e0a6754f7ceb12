"""The two Redis servers of k8s/redis.yaml, started for real with their configuration and their command."""

import shlex
import subprocess
from collections.abc import Callable

import pytest
import redis

from ragents.agents.checkpointing import CheckpointConfig, open_checkpoint_saver
from ragents.errors import ConfigError
from tests.k8s.manifests import containers, load, named
from tests.k8s.servers import PASSWORD, REDIS_BINARIES, REDIS_COMMANDS, REDIS_CONFIG, RedisProcess

StartRedis = Callable[[str], RedisProcess]


@pytest.mark.parametrize("file", REDIS_COMMANDS)
def test_it_starts_and_every_line_holds(file: str, start: StartRedis) -> None:
    with start(file).client as client:
        for line in REDIS_CONFIG[file].splitlines():
            name, *values = shlex.split(line)
            if name in ("port", "dir"):
                continue
            found = client.config_get(name)[name]
            wanted = " ".join(values).replace("1gb", str(2**30)).replace("64mb", str(64 * 2**20))
            assert found == wanted, name


@pytest.mark.parametrize("file", REDIS_COMMANDS)
def test_nobody_enters_without_the_password(file: str, start: StartRedis) -> None:
    with (
        start(file).client as client,
        redis.Redis(port=client.connection_pool.connection_kwargs["port"]) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()


@pytest.mark.parametrize(("password", "ready"), [(PASSWORD, True), ("another", False)])
def test_the_probe_asks_with_the_password(password: str, ready: bool, start: StartRedis) -> None:
    probe = next(containers(named(load("redis.yaml"), "StatefulSet", "redis-state")))["readinessProbe"]
    with start("state.conf").client as client:
        port = client.connection_pool.connection_kwargs["port"]
        command = [part.replace("redis-cli", f"redis-cli -p {port}") for part in probe["exec"]["command"]]
        path = f"{REDIS_BINARIES}:/usr/bin:/bin"

        done = subprocess.run(command, env={"PATH": path, "REDISCLI_AUTH": password}, timeout=10, check=False)

    assert (done.returncode == 0) == ready


def test_the_cache_evicts_and_keeps_nothing_over_a_restart(start: StartRedis) -> None:
    with start("cache.conf").client as client:
        fill(client)
        assert client.info("stats")["evicted_keys"] > 0
    with start("cache.conf").client as client:
        assert client.dbsize() == 0


def test_the_state_refuses_what_does_not_fit_and_keeps_the_rest_over_a_restart(start: StartRedis) -> None:
    with start("state.conf").client as client:
        with pytest.raises(redis.ResponseError, match="maxmemory"):
            fill(client)
        kept = client.dbsize()
        assert client.info("stats")["evicted_keys"] == 0
    with start("state.conf").client as client:
        assert client.dbsize() == kept > 0


def fill(client: redis.Redis) -> None:
    """More than there is room for, once the room is small."""
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 2**20)
    for number in range(400):
        client.set(f"key-{number}", "x" * 10_000)


async def test_threads_are_kept_on_the_state_and_refused_by_the_cache(start: StartRedis) -> None:
    def config(client: redis.Redis) -> CheckpointConfig:
        port = client.connection_pool.connection_kwargs["port"]
        return CheckpointConfig(backend="redis", redis_url=f"redis://:{PASSWORD}@127.0.0.1:{port}/1")

    with start("state.conf").client as client:
        async with open_checkpoint_saver(config(client)) as saver:
            assert await saver.aget_tuple({"configurable": {"thread_id": "t"}}) is None
    with start("cache.conf").client as client, pytest.raises(ConfigError, match="noeviction"):
        async with open_checkpoint_saver(config(client)):
            pass
