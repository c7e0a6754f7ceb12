"""What was deleted, and what admins did: a line of JSON in the log, and a row where there is a Postgres."""

import json
import logging
from typing import Protocol

from ragents.deployment.keys.types import AuditEntry, now

log = logging.getLogger("ragents.audit")


class Audit(Protocol):
    async def record(self, entry: AuditEntry) -> None: ...


class LoggedAudit:
    """Without a Postgres: the log alone."""

    async def record(self, entry: AuditEntry) -> None:
        say(entry)


def say(entry: AuditEntry) -> None:
    log.info(
        json.dumps(
            {
                "at": now().isoformat(),
                "tenant": entry.tenant,
                "actor": entry.actor,
                "action": entry.action,
                "target": entry.target,
                "details": dict(entry.details),
                "request_id": entry.request_id,
            },
            ensure_ascii=False,
        )
    )
