"""Whether a store still has what it was given: a few stored vectors are looked for now and then.

A store that was emptied and written to since names something, only not the nearest. Nothing else would notice.
"""

import time
import uuid
from dataclasses import dataclass, field

from ragents.postgres.connections import Connections
from ragents.rag.store.langchain.index import VectorIndex
from ragents.rag.store.langchain.statements import SQL, snapshot
from ragents.rag.store.pgvector.codec import encode_vector

NEAREST = 50
"""Among so many a vector is looked for: an index may miss the best."""
SAME = 0.9999
"""A cosine from which two chunks have one vector: then the other may be found instead."""
MAX_SCOPES = 10_000


@dataclass(slots=True)
class Probing:
    """`samples` documents of each collection, at its first search and then every so many seconds.

    Documents changed within `settled_s` are not asked for: some stores show later what was written.
    """

    samples: int = 3
    every_s: float = 300.0
    settled_s: float = 60.0
    _last: dict[str, float] = field(default_factory=dict)

    def due(self, scope: str) -> bool:
        """At most once in `every_s`, however many ask."""
        now = time.monotonic()
        if now - self._last.get(scope, -self.every_s) < self.every_s:
            return False
        if len(self._last) >= MAX_SCOPES:
            self._last.clear()
        self._last[scope] = now
        return True

    async def passes(
        self, connections: Connections, index: VectorIndex, scope: str, *, tenant: str, collection_id: int
    ) -> bool:
        """Whether each of them is found by its own vector."""
        place = (tenant, collection_id, self.settled_s, self.samples)
        async with snapshot(connections, tenant) as db:
            rows = await db.fetch(SQL["samples"], *place, uuid.uuid4())
            if len(rows) < self.samples:
                rows = await db.fetch(SQL["samples"], *place, uuid.UUID(int=0))
        for row in rows:
            found = await index.search(row["embedding"], NEAREST, scope=scope)
            if row["id"] in found:
                continue
            async with snapshot(connections, tenant) as db:
                near = await db.fetch(
                    SQL["candidates"], tenant, collection_id, found, encode_vector(row["embedding"]), False
                )
            if not any(each["similarity"] > SAME for each in near):
                return False
        return True
