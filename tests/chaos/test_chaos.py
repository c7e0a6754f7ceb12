"""No acknowledged turn is lost, none is made twice, and no side effect happens twice, whatever is killed."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from ragents.embedded import guardian, open_postgres
from tests.chaos.storm import Report, Storm, seconds_of_storm
from tests.redis_server import RedisServer

RECOVERY_S = 10.0
"""From a client's first failure; what it waited before that, on a frozen worker, is reported beside it."""

pytestmark = pytest.mark.timeout(int(seconds_of_storm()) + 200)


def check(report: Report, seed: int) -> None:
    print(f"\nchaos, seed {seed}: {report}\n{report.story()}")  # noqa: T201  # what one runs it for
    assert report.problems == []
    acked = sum(turn.outcome == "acked" for turn in report.turns)
    assert acked >= 10, "too few turns to prove anything"
    assert max(report.waits, default=0.0) < RECOVERY_S
    assert all(report.faults[name] for name in ("kill -9 of a worker", "kill -9 of the store"))


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("CHAOS_SEED", str(time.time_ns() % 1_000_000)))


async def test_the_storm_on_postgres(home: Path, tmp_path: Path, seed: int) -> None:
    from ragents.deployment.app import APP_ROLE, migrate_all

    data = home / "chaos"
    async with open_postgres(data) as owner:
        dsn = owner.replace("postgres@", f"{APP_ROLE}@", 1)
        await migrate_all(owner, dsn=dsn)

        async def restart() -> None:
            found = guardian.postmaster(data / guardian.PID_FILE)
            assert found is not None
            os.kill(found[0], signal.SIGKILL)  # its guardian starts it again
            await asyncio.sleep(0.5)

        storm = Storm("postgres", dsn, tmp_path / "effects", seed=seed, restart_store=restart)
        check(await storm.run(seconds_of_storm()), seed)


async def test_the_storm_on_redis(home: Path, tmp_path: Path, seed: int) -> None:
    directory = home / "chaos-redis"
    directory.mkdir()
    server = RedisServer(directory, appendonly="yes", appendfsync="always")
    server.start()

    async def restart() -> None:
        server.kill()
        await asyncio.sleep(0.3)
        server.start()

    try:
        storm = Storm("redis", server.url, tmp_path / "effects", seed=seed, restart_store=restart)
        check(await storm.run(seconds_of_storm()), seed)
    finally:
        server.stop()
