from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from ragents.embedded import open_postgres
from tests.k8s.servers import Cluster, RedisProcess, prepared


@pytest.fixture(scope="session")
async def cluster(home: Path) -> AsyncIterator[Cluster]:
    """A Postgres of its own: roles belong to a whole server. Short names, since a socket's path must be short."""
    (home / "kb").mkdir()
    async with open_postgres(home / "ka") as superuser:
        yield await prepared(superuser, home / "kb")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], RedisProcess]]:
    """Starts the Redis of a file of redis.yaml; the one of the same file that ran before ends first."""
    running: dict[str, RedisProcess] = {}

    def run(file: str) -> RedisProcess:
        if (before := running.pop(file, None)) is not None:
            before.stop()
        running[file] = RedisProcess(file, tmp_path)
        return running[file]

    yield run
    for each in running.values():
        each.stop()
