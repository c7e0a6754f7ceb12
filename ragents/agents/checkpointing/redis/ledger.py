"""The tools' ledger in Redis: among the rows of the thread, so that it ends with the thread and not before."""

from langgraph.checkpoint.serde.base import SerializerProtocol

from ragents.agents.checkpointing.codec import Codec, call_place
from ragents.agents.checkpointing.redis.keys import joined, thread_keys
from ragents.agents.checkpointing.redis.scripts import Script, Server
from ragents.agents.tools.ledger import Entry
from ragents.agents.types import ThreadKey

BEGIN, FINISH, FORGET = Script("begin"), Script("finish"), Script("forget")


class RedisLedger:
    """Results are compressed and encrypted like checkpoints."""

    def __init__(self, server: Server, *, serde: SerializerProtocol, codec: Codec, ttl_s: float | None) -> None:
        self._server = server
        self._serde = serde
        self._codec = codec
        self._ttl_ms = 0 if ttl_s is None else max(1, int(ttl_s * 1000))

    async def begin(self, thread: ThreadKey, key: str) -> Entry:
        """Of all callers with this key, one gets "new"."""
        keys = thread_keys(thread.tenant, thread.thread)
        # Not again: a call whose answer was lost would meet itself.
        noted = await self._server.run(BEGIN, keys, [self._ttl_ms, joined(key)], again=False)
        if noted is None:
            return Entry("new")
        if not noted:
            return Entry("started")
        return Entry("done", self._codec.decode(self._serde, noted, call_place(thread, key)))

    async def finish(self, thread: ThreadKey, key: str, result: str) -> None:
        """The first result stays."""
        sealed = self._codec.encode(self._serde, result, call_place(thread, key))
        keys = thread_keys(thread.tenant, thread.thread)
        await self._server.run(FINISH, keys, [self._ttl_ms, joined(key), sealed], again=True)

    async def forget(self, thread: ThreadKey) -> None:
        await self._server.run(FORGET, thread_keys(thread.tenant, thread.thread), [], again=True)
