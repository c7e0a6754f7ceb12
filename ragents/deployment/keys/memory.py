"""Keys in memory: for tests, and where there is no Postgres."""

from dataclasses import replace
from datetime import timedelta

from ragents.deployment.keys.types import KeyOwner, StoredKey, check_active, has_successor, new_key, now
from ragents.errors import NotFound


class MemoryKeys:
    """A KeyStore that forgets with the process."""

    def __init__(self) -> None:
        self._keys: dict[str, StoredKey] = {}
        self._successors: dict[str, str] = {}

    async def any(self) -> bool:
        return bool(self._keys)

    async def find(self, key_id: str) -> StoredKey | None:
        return self._keys.get(key_id)

    async def create(self, owner: KeyOwner, *, lasts: timedelta | None, actor: str) -> tuple[StoredKey, str]:
        key_id, digest, text = new_key()
        stored = StoredKey(key_id, owner, digest, now(), None if lasts is None else now() + lasts)
        self._keys[key_id] = stored
        return stored, text

    async def list(self, tenant: str) -> list[StoredKey]:
        return [each for each in self._keys.values() if each.owner.tenant == tenant]

    async def revoke(self, key_id: str, *, actor: str) -> StoredKey:
        stored = self._known(key_id)
        self._keys[key_id] = replace(stored, revoked_at=stored.revoked_at or now())
        return self._keys[key_id]

    async def rotate(self, key_id: str, *, grace: timedelta, actor: str) -> tuple[StoredKey, str]:
        old = self._known(key_id)
        check_active(old)
        successor = self._keys.get(self._successors.get(key_id, ""))
        if successor is not None and successor.state(now()) == "active":
            raise has_successor(key_id, successor.id)
        ends = now() + grace
        self._keys[key_id] = replace(old, expires_at=ends if old.expires_at is None else min(old.expires_at, ends))
        lasts = None if old.expires_at is None else old.expires_at - old.created_at
        stored, text = await self.create(old.owner, lasts=lasts, actor=actor)
        self._successors[key_id] = stored.id
        return stored, text

    def _known(self, key_id: str) -> StoredKey:
        if key_id not in self._keys:
            raise NotFound("key", key_id)
        return self._keys[key_id]
