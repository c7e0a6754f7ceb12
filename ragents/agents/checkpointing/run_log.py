"""The log of runs: events of answers while they are written, for readers who come back at another server."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Entry = tuple[int, str, str]
"""id, name, data of an event"""


@dataclass(frozen=True, slots=True)
class Page:
    """`silent_s`: since the server that runs it said anything, also that it is alive."""

    entries: list[Entry]
    silent_s: float


class RunLog(Protocol):
    """Kept where threads are. `run` holds its owner, as a thread does. Data is compressed and encrypted like theirs."""

    async def append(self, tenant: str, run: str, entries: Sequence[Entry], *, ttl_s: float) -> None:
        """Without entries it says that the run is alive. It is forgotten `ttl_s` after the last append."""
        ...

    async def read(self, tenant: str, run: str, *, after: int, limit: int = 500) -> Page | None:
        """Entries with greater ids, and a note that the run is being read. None for a run that is not there."""
        ...

    async def unread_s(self, tenant: str, run: str) -> float | None:
        """Seconds since it was read; None if it never was."""
        ...


def entry_place(tenant: str, run: str, number: int) -> tuple[str, ...]:
    """What the data of an entry is bound to when it is encrypted."""
    return (tenant, run, "event", str(number))
