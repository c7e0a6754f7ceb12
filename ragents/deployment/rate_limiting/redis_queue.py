"""The queue of all processes."""

from ragents.deployment.rate_limiting.entries import Entry, full
from ragents.deployment.rate_limiting.redis import PREFIX, QUEUE_TIMEOUT_S, Script, Server

ENQUEUE = Script("enqueue")


class RedisQueue:
    """For all processes; BackendUnavailable without Redis. An entry that was popped is gone, whatever happens then."""

    def __init__(self, server: Server, *, aging_s: float, max_entries: int, enqueue: Script = ENQUEUE) -> None:
        self._server, self._enqueue = server, enqueue
        self._aging_s, self._max_entries = aging_s, max_entries
        self._keys = (f"{PREFIX}:{{queue}}", f"{PREFIX}:{{queue}}:number")

    async def put(self, entry: Entry, *, rank: int) -> None:
        await self._server.reach(timeout_s=QUEUE_TIMEOUT_S)
        arguments = (entry.dump(), int(rank * self._aging_s * 1e6), self._max_entries)
        if not await self._server.run(self._enqueue, self._keys, arguments, timeout_s=QUEUE_TIMEOUT_S):
            raise full(self._max_entries)

    async def pop(self) -> Entry | None:
        await self._server.reach(timeout_s=QUEUE_TIMEOUT_S)
        found = await self._server.command("ZPOPMIN", self._keys[0], timeout_s=QUEUE_TIMEOUT_S)
        if not found:
            return None
        member = found[0][0] if isinstance(found[0], list | tuple) else found[0]
        return Entry.load(member.split(" ", 1)[1])
