"""Leases kept in Redis, in the slot of the thread's checkpoints: put.lua looks at them."""

from ragents.agents.checkpointing.redis.keys import thread_keys
from ragents.agents.checkpointing.redis.scripts import Script, Server

TAKE = Script("take", on_thread=False)
RENEW = Script("renew", on_thread=False)
MEMORY_MS = 7 * 24 * 3600 * 1000
"""How long a thread's number is remembered; later ones start at the time, which is greater."""


class RedisLeases:
    """`Leases` on Redis's clock."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def take(self, tenant: str, thread: str, *, ttl_s: float) -> int | None:
        arguments = [int(ttl_s * 1000), MEMORY_MS]
        # Not again: a take whose answer was lost would find itself in the way.
        fence = await self._server.run(TAKE, [_key(tenant, thread)], arguments, again=False)
        return None if fence is None else int(fence)

    async def renew(self, tenant: str, thread: str, *, fence: int, ttl_s: float) -> bool:
        return await self._prolong(tenant, thread, fence, max(1, int(ttl_s * 1000)))

    async def release(self, tenant: str, thread: str, *, fence: int) -> None:
        await self._prolong(tenant, thread, fence, 0)

    async def _prolong(self, tenant: str, thread: str, fence: int, ttl_ms: int) -> bool:
        arguments = [ttl_ms, MEMORY_MS, fence]
        return bool(await self._server.run(RENEW, [_key(tenant, thread)], arguments, again=True))


def _key(tenant: str, thread: str) -> str:
    return thread_keys(tenant, thread)[2]
