"""All queries of a question at once, and no longer than the question itself can wait."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from ragents.errors import BackendUnavailable
from ragents.llm.types import Usage
from ragents.rag.query.planning import Plan
from ragents.rag.types import Source

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """`lists`: the question's own first, then those of `queries` that came in time. `complete`: none was left out."""

    lists: tuple[tuple[Source, ...], ...]
    queries: tuple[str, ...]
    notes: tuple[str, ...]
    complete: bool
    usage: Usage = field(default_factory=Usage)


async def search_all(
    own: Awaitable[tuple[Source, ...]],
    plan: Callable[[], Awaitable[Plan]],
    search: Callable[[str], Awaitable[tuple[Source, ...]]],
    *,
    timeout_s: float,
) -> Found:
    """The question's own search, and beside it the plan and the searches that it asks for.

    When the own search is done the others have `timeout_s` more; then they are given up, which the notes say. What the
    own search raises is raised; a query whose search meets a neighbour that is down is left out.
    """
    others = _Others(search)
    task = asyncio.create_task(others.run(plan))
    try:
        first = await own
        await asyncio.wait({task}, timeout=timeout_s)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled():
        task.result()
    return others.found(first, timeout_s)


class _Others:
    """What has come so far."""

    def __init__(self, search: Callable[[str], Awaitable[tuple[Source, ...]]]) -> None:
        self._search = search
        self._plan: Plan | None = None
        self._lists: dict[str, tuple[Source, ...]] = {}
        self._failed = 0

    async def run(self, plan: Callable[[], Awaitable[Plan]]) -> None:
        self._plan = await plan()
        await asyncio.gather(*(self._one(query) for query in self._plan.queries))

    async def _one(self, query: str) -> None:
        try:
            self._lists[query] = await self._search(query)
        except BackendUnavailable as error:
            log.warning("a query besides the question is left out: %s", error)
            self._failed += 1

    def found(self, first: tuple[Source, ...], timeout_s: float) -> Found:
        if self._plan is None:
            note = f"searched with the question alone: other queries were not made within {timeout_s:g} s"
            return Found((first,), (), (note,), complete=False)
        queries = tuple(query for query in self._plan.queries if query in self._lists)
        late = len(self._plan.queries) - len(queries) - self._failed
        notes = list(self._plan.notes)
        if queries:
            notes.append("searched also for: " + "; ".join(queries))
        if late:
            notes.append(
                f"{late} of {len(self._plan.queries)} other queries left out: late by more than {timeout_s:g} s"
            )
        if self._failed:
            notes.append(f"{self._failed} of {len(self._plan.queries)} other queries left out: their search failed")
        lists = (first, *(self._lists[query] for query in queries))
        complete = not late and not self._failed and not self._plan.notes
        return Found(lists, queries, tuple(notes), complete, self._plan.usage)
