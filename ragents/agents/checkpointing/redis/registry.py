"""Which threads there are: of a tenant, and of a run. Lists beside the threads, in other slots of a cluster."""

import time
from collections import OrderedDict

from ragents.agents.checkpointing.redis.keys import quoted, run_key, threads_key, unquoted
from ragents.agents.checkpointing.redis.scripts import Script, Server

REGISTER = Script("register", on_thread=False)
NOTED = 20_000
"""Notes that this process remembers to have made lately."""
NOTE_AGAIN_S = 600.0


class Registry:
    """A thread is noted before it is written, and again from time to time while it is used."""

    def __init__(self, server: Server, *, ttl_s: float | None) -> None:
        self._server = server
        self._again_s = NOTE_AGAIN_S if ttl_s is None else min(NOTE_AGAIN_S, ttl_s / 4)
        self._stay_ms = 0 if ttl_s is None else int((ttl_s + 2 * self._again_s) * 1000)
        self._noted: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def note(self, tenant: str, thread: str, *, run_id: str | None = None) -> None:
        await self._note(threads_key(tenant), thread)
        if run_id is not None:
            await self._note(run_key(tenant, run_id), thread)

    async def threads(self, tenant: str) -> list[str]:
        return await self._members(threads_key(tenant))

    async def threads_of_run(self, tenant: str, run_id: str) -> list[str]:
        return await self._members(run_key(tenant, run_id))

    async def forget(self, tenant: str, thread: str) -> None:
        self._noted.pop((threads_key(tenant), thread), None)
        await self._server.command("ZREM", threads_key(tenant), quoted(thread), again=True)

    async def forget_expired(self, tenant: str, thread: str) -> None:
        """Of a thread that is not there; not when it was noted just now, which comes before its first write."""
        key, member = threads_key(tenant), quoted(thread)
        noted_ms = await self._server.command("ZSCORE", key, member, again=True)
        if noted_ms is not None and float(noted_ms) < (time.time() - self._again_s) * 1000:
            await self.forget(tenant, thread)

    async def forget_run(self, tenant: str, run_id: str) -> None:
        await self._server.command("UNLINK", run_key(tenant, run_id), again=True)

    async def _note(self, key: str, thread: str) -> None:
        now = time.monotonic()
        if now - self._noted.get((key, thread), float("-inf")) < self._again_s:
            return
        now_ms = int(time.time() * 1000)
        await self._server.run(REGISTER, [key], [quoted(thread), now_ms, self._stay_ms], again=True)
        self._noted[key, thread] = now
        self._noted.move_to_end((key, thread))
        if len(self._noted) > NOTED:
            self._noted.popitem(last=False)

    async def _members(self, key: str) -> list[str]:
        found = await self._server.command("ZRANGE", key, 0, -1, again=True)
        return [unquoted(member.decode()) for member in found]
