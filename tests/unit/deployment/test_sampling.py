"""The sampler goes on, whatever it cannot read, and ends with its block."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from ragents.agents.checkpointing.types import StateMemory
from ragents.deployment.observability.metrics import Metrics
from ragents.deployment.observability.sampling import Sampler, sampling
from ragents.errors import BackendUnavailable
from ragents.postgres import PoolUse
from ragents.rag.cache.cache import LayerCounts


class Told:
    """Stands in for every part of the metrics: the names of what was called, with the last arguments."""

    def __init__(self) -> None:
        self.calls: dict[str, tuple[object, ...]] = {}
        self.changed = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: object) -> None:
            self.calls[name] = arguments
            self.changed.set()

        return call


def make_metrics() -> Any:
    parts = {name: Told() for name in ("server", "threads", "ingest", "caches")}

    async def look(cache: object) -> None:
        parts["caches"].calls["look"] = (cache,)

    parts["caches"].look = look  # type: ignore[attr-defined]
    return SimpleNamespace(**parts)


def make_app(**changes: Any) -> Any:
    async def memory() -> StateMemory:
        return StateMemory(3, True, 0.5)

    app = SimpleNamespace(
        config=SimpleNamespace(observability=SimpleNamespace(backup_stamp=None)),
        pools=lambda: [PoolUse(1, 2, 10)],
        cache=object(),
        semantic=SimpleNamespace(counted=LayerCounts(1, 2, 0)),
        threads=SimpleNamespace(memory=memory),
        embedded_postgres=False,
    )
    vars(app).update(changes)
    return app


async def test_everything_is_looked_at() -> None:
    metrics, admitted = make_metrics(), []
    await Sampler(make_app(), metrics, admission=lambda: admitted.append(1)).look(slowly=True)
    assert admitted == [1]
    assert metrics.server.calls["pools"] == ([PoolUse(1, 2, 10)],)
    assert metrics.server.calls["state_redis"] == (StateMemory(3, True, 0.5),)
    assert metrics.caches.calls["counted"] == ({"semantic": LayerCounts(1, 2, 0)},)
    assert "look" in metrics.caches.calls
    assert "disk" not in metrics.server.calls, "the disk of somebody else's Postgres is not here"
    assert "backup" not in metrics.server.calls, "no stamp is configured"


async def test_what_is_slow_is_left_out_of_most_looks() -> None:
    metrics = make_metrics()
    await Sampler(make_app(), metrics, admission=lambda: None).look(slowly=False)
    assert "state_redis" not in metrics.server.calls
    assert "pools" in metrics.server.calls


async def test_a_redis_that_is_away_hides_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    async def away() -> StateMemory:
        raise BackendUnavailable("checkpointer", "it is gone")

    metrics = make_metrics()
    with caplog.at_level(logging.WARNING):
        await Sampler(make_app(threads=SimpleNamespace(memory=away)), metrics, admission=lambda: None).look(slowly=True)
    assert "state_redis" not in metrics.server.calls
    assert "look" in metrics.caches.calls
    assert not caplog.records, "an outage is told elsewhere, once, and not every half minute here"


async def test_a_defect_is_logged_and_the_other_looks_are_made(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> list[PoolUse]:
        raise ZeroDivisionError

    metrics = make_metrics()
    logging.getLogger("ragents").propagate = True  # the service's own handler may have been set by another test
    with caplog.at_level(logging.WARNING):
        await Sampler(make_app(pools=broken), metrics, admission=lambda: None).look(slowly=True)
    assert "a metric could not be sampled" in caplog.text
    assert "look" in metrics.caches.calls


async def test_samples_come_again_and_again_until_the_block_ends() -> None:
    metrics: Metrics = make_metrics()
    async with sampling(make_app(), metrics, admission=lambda: None, every_s=0.01):
        assert "started" in metrics.server.calls  # type: ignore[attr-defined]
        for _ in range(3):
            metrics.threads.changed.clear()  # type: ignore[attr-defined]
            await asyncio.wait_for(metrics.threads.changed.wait(), 5)  # type: ignore[attr-defined]
    metrics.threads.changed.clear()  # type: ignore[attr-defined]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(metrics.threads.changed.wait(), 0.1)  # type: ignore[attr-defined]
