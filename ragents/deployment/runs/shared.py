"""Runs that are read at another server than the one that runs them."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from urllib.parse import quote

from ragents.agents.checkpointing.run_log import Page, RunLog
from ragents.deployment.runs.run import Event, Key, Run
from ragents.errors import RAGentsError

log = logging.getLogger(__name__)

COPY_EVERY_S = 0.05
"""Tokens of so long go into the log together."""
ALIVE_S, SILENT_S = 1.0, 5.0
"""How often a run without events says that it lives; after how long without a word its server is taken for dead."""
READ_EVERY_S = 0.1
LAST = frozenset({"done", "error"})


class SharedRuns:
    """Copies runs into a log, and reads those of others there."""

    def __init__(self, shared: RunLog, *, grace_s: float) -> None:
        self._log = shared
        self._grace_s = grace_s

    async def copy(self, key: Key, run: Run) -> None:
        """Everything of `run` into the log, until it has ended. A log that is down is tried again."""
        tenant, name = _where(key)
        copied = 0
        while True:
            ended, fresh = run.done, run.after(copied)
            entries = [(event.id, event.name, event.data) for event in fresh]
            try:
                await self._log.append(tenant, name, entries, ttl_s=self._grace_s + SILENT_S)
            except RAGentsError as error:
                log.warning("a run cannot be read at other servers for now: %s", error)
                if ended:
                    return
            else:
                copied += len(fresh)
                if ended:
                    return
            if not run.done:
                await run.changed(ALIVE_S)
            await asyncio.sleep(COPY_EVERY_S)

    async def follow(self, key: Key, *, after: int) -> AsyncGenerator[Event] | None:
        """The events that follow the id `after`, as they come. None for a run that is not in the log."""
        tenant, name = _where(key)
        page = await self._log.read(tenant, name, after=after)
        return None if page is None else self._follow(tenant, name, page, after)

    async def read_for(self, key: Key) -> float:
        """The seconds for which a reader elsewhere keeps the run; 0 when there is none."""
        try:
            unread_s = await self._log.unread_s(*_where(key))
        except RAGentsError as error:
            log.warning("whether a run is read at another server is not known: %s", error)
            return 0.0
        return 0.0 if unread_s is None else max(0.0, self._grace_s - unread_s)

    async def _follow(self, tenant: str, name: str, page: Page | None, after: int) -> AsyncGenerator[Event]:
        while page is not None and page.silent_s < SILENT_S:
            for number, event, data in page.entries:
                yield Event(number, event, data)
                after = number
                if event in LAST:
                    return
            if not page.entries:
                await asyncio.sleep(READ_EVERY_S)
            page = await self._log.read(tenant, name, after=after)
        lost = {
            "error": "the server that was answering is gone; ask again with the same Idempotency-Key, and it goes on",
            "code": "run_lost",
        }
        yield Event(after + 1, "error", json.dumps(lost))


def _where(key: Key) -> tuple[str, str]:
    tenant, user, request_id = key
    return tenant, f"{quote(user, safe='')}:{quote(request_id, safe='')}"
