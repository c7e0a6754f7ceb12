"""How many processes share a Redis: each says every few seconds that it is here, and learns how many have."""

import uuid
from collections import deque
from contextlib import suppress

from ragents.deployment.rate_limiting.redis import PREFIX, Script, Server
from ragents.errors import BackendUnavailable

PRESENT = Script("present")
KEY = f"{PREFIX}:{{processes}}"
EVERY_S, GONE_AFTER_S = 5.0, 15.0
WORDS_KEPT = 3
"""A Redis that was away for long, or came back empty, first counts only those who have spoken since."""


class Presence:
    """One process of those on `server`. `at_least`: what counts before anything was seen, and the floor after it."""

    def __init__(self, server: Server, *, at_least: int, gone_after_s: float, script: Script = PRESENT) -> None:
        self._server, self._at_least, self._script = server, at_least, script
        self._gone_after_ms = int(gone_after_s * 1000)
        self._name = uuid.uuid4().hex
        self._seen: deque[int] = deque(maxlen=WORDS_KEPT)

    async def say(self, *, timeout_s: float) -> int:
        """Say that this process is here. The processes, by the greatest of the last counts; BackendUnavailable.

        It writes, so it also tells whether Redis can count: one that is full or only reads answers a PING.
        """
        arguments = (self._name, self._gone_after_ms)
        found = await self._server.run(self._script, (KEY,), arguments, timeout_s=timeout_s, again=True)
        self._seen.append(int(found))
        return max(self._at_least, *self._seen)

    async def leave(self, *, timeout_s: float) -> None:
        """The others learn it with their next word, or after `gone_after_s` where Redis is away."""
        with suppress(BackendUnavailable):
            await self._server.command("ZREM", KEY, self._name, timeout_s=timeout_s)
