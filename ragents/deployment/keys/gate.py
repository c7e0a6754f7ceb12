"""From a request to its Caller: by key, or as the keyless one on this machine."""

import hmac
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from cachetools import TTLCache
from starlette.datastructures import Headers
from starlette.types import Scope

from ragents.deployment.auth import OPEN_PATHS, principal_of
from ragents.deployment.callers import Caller
from ragents.deployment.keys.types import KEY, AuthConfig, KeyStore, StoredKey, hash_of, now
from ragents.deployment.rate_limiting.types import Limits
from ragents.errors import AuthenticationRequired, BackendUnavailable
from ragents.principal import Principal

log = logging.getLogger(__name__)

BOOTSTRAP = "bootstrap"
BOOTSTRAP_ADMIN = Principal(tenant="default", user=BOOTSTRAP, role="admin")
CACHED_KEYS = 10_000
NO_SECRET = bytes(32)
"""Compared with where there is no such key, so that both take the same time. Nothing has this hash."""


class Gate:
    """For one service. What was looked up is good for `cache_s`: so long a revoked key may still be taken."""

    def __init__(
        self,
        keys: KeyStore,
        config: AuthConfig,
        *,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys, self._limits, self._clock = keys, limits, clock
        self._cache_s = config.cache_s
        self._bootstrap = None if config.bootstrap_key is None else hash_of(config.bootstrap_key.get_secret_value())
        self._found: TTLCache[str, StoredKey | None] = TTLCache(CACHED_KEYS, max(config.cache_s, 1e-9), timer=clock)
        self._any = False
        self._any_until = float("-inf")

    async def keyed(self) -> bool:
        """Whether callers need a key. Once a key was made they do, also when it is revoked.

        While the store cannot say, what was known holds.
        """
        if self._any or self._bootstrap is not None:
            return True
        if self._clock() >= self._any_until:
            try:
                self._any = await self._keys.any()
            except BackendUnavailable as error:
                log.warning("it is not known whether there are API keys: %s", error)
            self._any_until = self._clock() + self._cache_s
        return self._any

    async def admit(self, scope: Scope) -> Caller:
        """AuthenticationRequired, without saying why a key is not taken; PermissionDenied without keys, from afar."""
        if scope["path"] in OPEN_PATHS:
            return Caller()
        if not await self.keyed():
            return Caller(principal_of(scope))
        secret = secret_of(Headers(scope=scope))
        if secret is None:
            raise AuthenticationRequired("an API key is needed; send it as X-API-Key, or as Authorization: Bearer KEY")
        if self._bootstrap is not None and hmac.compare_digest(hash_of(secret), self._bootstrap):
            return Caller(BOOTSTRAP_ADMIN, BOOTSTRAP)
        return await self._holder(secret)

    async def _holder(self, text: str) -> Caller:
        match = KEY.match(text)
        stored = await self._find(match[1]) if match else None
        known = hmac.compare_digest(hash_of(match[2] if match else text), stored.secret_hash if stored else NO_SECRET)
        if stored is None or not known or stored.state(now()) != "active":
            raise AuthenticationRequired("the API key is unknown, revoked or expired; ask an admin for another")
        return stored.caller(self._limits)

    async def _find(self, key_id: str) -> StoredKey | None:
        with suppress(KeyError):  # asked once: between `in` and the look it could end
            return self._found[key_id]
        found = await self._keys.find(key_id)
        self._found[key_id] = found
        return found


def secret_of(headers: Headers) -> str | None:
    """X-API-Key, or the token of Authorization: Bearer (OpenAI's clients), where there is none.

    AuthenticationRequired for a header that is there twice: nobody knows which of them a proxy has looked at.
    """
    for name in ("x-api-key", "authorization"):
        if len(headers.getlist(name)) > 1:
            raise AuthenticationRequired(f"the header {name} was sent more than once; send one key")
    if (key := headers.get("x-api-key", "").strip()) != "":
        return key
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
