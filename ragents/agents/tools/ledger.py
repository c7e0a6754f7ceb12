"""The ledger of tools with side effects: which calls have begun and which are done, so that none runs twice."""

from dataclasses import dataclass
from typing import Literal, Protocol

from ragents.agents.types import ThreadKey


@dataclass(frozen=True, slots=True)
class Entry:
    """What `begin` met: "new" for the caller that may run the call; "started" when it was begun and never finished,
    so that nobody knows whether it happened; "done" with what it gave."""

    state: Literal["new", "started", "done"]
    result: str | None = None


class Ledger(Protocol):
    """Kept where the threads are kept. Errors: BackendUnavailable when it cannot be reached in time."""

    async def begin(self, thread: ThreadKey, key: str) -> Entry:
        """Atomically: of all callers with this key, one gets "new"."""
        ...

    async def finish(self, thread: ThreadKey, key: str, result: str) -> None:
        """The first result stays, and so does the entry when there was no `begin`."""
        ...

    async def forget(self, thread: ThreadKey) -> None:
        """All entries of a thread that is deleted."""
        ...


class MemoryLedger:
    """Remembers as long as the process lives: for threads that do not outlive it either."""

    def __init__(self) -> None:
        self._threads: dict[ThreadKey, dict[str, Entry]] = {}

    async def begin(self, thread: ThreadKey, key: str) -> Entry:
        entries = self._threads.setdefault(thread, {})
        met = entries.get(key)
        if met is None:
            entries[key] = Entry("started")
        return met or Entry("new")

    async def finish(self, thread: ThreadKey, key: str, result: str) -> None:
        entries = self._threads.setdefault(thread, {})
        if (met := entries.get(key)) is None or met.state != "done":
            entries[key] = Entry("done", result)

    async def forget(self, thread: ThreadKey) -> None:
        self._threads.pop(thread, None)
