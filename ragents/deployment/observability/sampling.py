"""What no question tells: looked at every few seconds, beside the questions."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ragents.config import data_home
from ragents.deployment.app import App
from ragents.deployment.observability import workers
from ragents.deployment.observability.machine import disk
from ragents.deployment.observability.metrics import Metrics
from ragents.errors import BackendUnavailable

log = logging.getLogger(__name__)

EVERY_S = 5.0
SLOWLY = 6
"""Redis and the disk are looked at every so many rounds."""


@asynccontextmanager
async def sampling(
    app: App, metrics: Metrics, *, admission: Callable[[], None], every_s: float = EVERY_S
) -> AsyncIterator[None]:
    """Samples until the block ends. `admission` writes down what waits and what runs."""
    metrics.server.started()
    sampler = Sampler(app, metrics, admission=admission)
    await sampler.look(slowly=True)
    task = asyncio.create_task(_forever(sampler, every_s))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Sampler:
    """One look at everything. What cannot be read keeps its last value; nothing here may end the service."""

    def __init__(self, app: App, metrics: Metrics, *, admission: Callable[[], None]) -> None:
        self._app, self._metrics, self._admission = app, metrics, admission
        self._stamp = app.config.observability.backup_stamp

    async def look(self, *, slowly: bool) -> None:
        steps: list[Callable[[], Awaitable[None]]] = [self._process, self._caches]
        if slowly:
            steps += [self._files, self._state_redis]
        for step in steps:
            try:
                await step()
            except BackendUnavailable as error:
                log.debug("not sampled: %s", error)
            except Exception:
                log.warning("a metric could not be sampled", exc_info=True)

    async def _process(self) -> None:
        metrics = self._metrics
        self._admission()
        metrics.server.memory()
        metrics.server.pools(self._app.pools())
        metrics.threads.look()
        metrics.ingest.look()
        if workers.several() and (dead := workers.bury_the_dead()):
            log.info("gauges of workers that are gone are left out: %s", ", ".join(map(str, dead)))

    async def _caches(self) -> None:
        self._metrics.caches.counted({"semantic": self._app.semantic.counted})
        await self._metrics.caches.look(self._app.cache)

    async def _files(self) -> None:
        """In a thread: a network file system may hang."""
        if self._app.embedded_postgres and (room := await asyncio.to_thread(disk, data_home())) is not None:
            self._metrics.server.disk(room)
        if self._stamp is not None:
            await asyncio.to_thread(self._metrics.server.backup, Path(self._stamp))

    async def _state_redis(self) -> None:
        if self._app.threads.memory is not None:
            self._metrics.server.state_redis(await self._app.threads.memory())


async def _forever(sampler: Sampler, every_s: float) -> None:
    rounds = 0
    while True:
        await asyncio.sleep(every_s)
        rounds += 1
        await sampler.look(slowly=rounds % SLOWLY == 0)
