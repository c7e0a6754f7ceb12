"""The sample documents: a first run has something to answer from."""

import asyncio
import fcntl
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ragents.agents import Turn
from ragents.config import data_home
from ragents.deployment.app import App
from ragents.deployment.observability.ingesting import IngestMetrics
from ragents.errors import RAGentsError
from ragents.ingestion import ingest

log = logging.getLogger(__name__)

LOCK_WAIT_S = 300.0


async def ensure_samples(app: App, metrics: IngestMetrics) -> None:
    """Ingest serving.sample_documents into an empty embedded store, once, whatever number of workers start."""
    documents = app.config.serving.sample_documents
    if documents is None or not app.embedded_postgres:
        return
    if not documents.exists():
        log.warning("serving.sample_documents = %s does not exist; nothing is ingested", documents)
        return
    principal = Turn().principal
    async with _one_at_a_time(data_home() / "samples.lock"):
        if await app.store.count(principal=principal):
            return
        log.info("the store is empty: ingesting the sample documents in %s", documents)
        with metrics.running() as on_progress:
            report = await ingest(
                [documents],
                store=app.store,
                embedder=app.encoder,
                config=app.config.rag,
                principal=principal,
                on_progress=on_progress,
            )
        log.info("ingested %d sample documents in %.1f s", report.documents, report.seconds)
        for failure in report.failures:
            log.warning("not taken: %s (%s): %s", failure.uri, failure.reason, failure.detail)


@asynccontextmanager
async def _one_at_a_time(lock: Path) -> AsyncIterator[None]:
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        async with asyncio.timeout(LOCK_WAIT_S):
            while not _locked(handle):
                await asyncio.sleep(0.1)
        yield
    except TimeoutError:
        raise RAGentsError(f"another worker has been ingesting the sample documents for {LOCK_WAIT_S:g} s") from None
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
