"""The vocabulary of API keys: settings, what is stored, and where."""

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from ragents.config.base import Config
from ragents.deployment.callers import Caller
from ragents.deployment.rate_limiting.types import Limits, Priority
from ragents.errors import InputError
from ragents.principal import Principal, Role

KEY = re.compile(r"^rag_([0-9a-f]{12})_([A-Za-z0-9_-]{43})$")
MIN_BOOTSTRAP_CHARACTERS = 16
PLACEHOLDER = "CHANGE-ME"
"""What stands for a secret in the examples of deploy/ and k8s/."""


class AuthConfig(Config):
    """Who may call. Keys themselves are in the store: `ragents keys create`."""

    bootstrap_key: SecretStr | None = Field(
        default=None, description="a key of your own choice for an admin of the tenant default, as long as it is set"
    )
    cache_s: float = Field(
        default=5.0, ge=0, le=300, description="a key that was looked up is not looked up again for so long"
    )

    @field_validator("bootstrap_key", mode="before")
    @classmethod
    def _digits_are_text(cls, key: object) -> object:
        """An environment variable of digits alone is read as a number; what comes from a file ends with a new line."""
        return str(key) if isinstance(key, int) else key.strip() if isinstance(key, str) else key

    @field_validator("bootstrap_key")
    @classmethod
    def _cannot_be_guessed(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key.get_secret_value()) < MIN_BOOTSTRAP_CHARACTERS:
            raise ValueError(f"shorter than {MIN_BOOTSTRAP_CHARACTERS} characters; make one with: openssl rand -hex 32")
        if key is not None and not key.get_secret_value().isascii():
            raise ValueError("holds what a header cannot carry; make one with: openssl rand -hex 32")
        if key is not None and key.get_secret_value().upper().startswith(PLACEHOLDER):
            raise ValueError("the example's own words, which everybody knows; make one with: openssl rand -hex 32")
        return key


class KeyLimits(BaseModel):
    """What differs from the settings of rate_limit, for the holder of one key."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    requests_per_minute: int | None = Field(default=None, ge=1, le=1_000_000)
    requests_per_hour: int | None = Field(default=None, ge=1, le=2_000_000)
    burst_size: int | None = Field(default=None, ge=1, le=1_000_000)
    tokens_per_minute: int | None = Field(default=None, ge=1, le=100_000_000)
    cost_usd_per_day: float | None = Field(default=None, gt=0, le=1_000_000)
    concurrent_requests: int | None = Field(default=None, ge=1, le=10_000)

    def over(self, limits: Limits) -> Limits | None:
        """None where nothing differs."""
        own = self.model_dump(exclude_none=True)
        return replace(limits, **own) if own else None


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """Who a key is for, and what it allows."""

    tenant: str
    user: str
    role: Role = "user"
    note: str = ""
    max_priority: Priority = Priority.HIGH
    limits: KeyLimits = field(default_factory=KeyLimits)
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as it is kept: without its secret. `id` is shown; times are aware."""

    id: str
    owner: KeyOwner
    secret_hash: bytes
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def state(self, now: datetime) -> str:
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"

    def caller(self, limits: Limits) -> Caller:
        """`limits`: the service's, which the key's own stand over."""
        owner = self.owner
        principal = Principal(owner.tenant, owner.user, owner.role)
        return Caller(principal, self.id, owner.max_priority, owner.limits.over(limits), owner.weight)


class KeyStore(Protocol):
    async def any(self) -> bool:
        """Whether a key was ever made, for whatever tenant."""

    async def find(self, key_id: str) -> StoredKey | None: ...

    async def create(self, owner: KeyOwner, *, lasts: timedelta | None, actor: str) -> tuple[StoredKey, str]:
        """The key, and the text that its holder sends: it cannot be had again."""

    async def list(self, tenant: str) -> list[StoredKey]: ...

    async def revoke(self, key_id: str, *, actor: str) -> StoredKey:
        """NotFound for an unknown id."""

    async def rotate(self, key_id: str, *, grace: timedelta, actor: str) -> tuple[StoredKey, str]:
        """Another key for the same owner, as `create` gives it; the old one ends after `grace`.

        InputError for a key that has ended, or has such a successor already that is in force.
        """


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something that cannot be undone, or that an admin did."""

    tenant: str
    actor: str
    action: str
    target: str
    details: Mapping[str, object] = field(default_factory=dict)
    request_id: str | None = None


def check_active(key: StoredKey) -> None:
    """InputError for a key that ended: another one for its owner would undo that."""
    if (state := key.state(now())) != "active":
        raise InputError(f"key {key.id!r} is {state}; make a new one with `ragents keys create`", field="key")


def has_successor(key_id: str, successor: str) -> InputError:
    return InputError(
        f"key {key_id!r} was rotated already, and {successor!r} is in force in its place; rotate that one, or revoke "
        "it first",
        field="key",
    )


def new_key() -> tuple[str, bytes, str]:
    """(id, hash, text)"""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    return key_id, hash_of(secret), f"rag_{key_id}_{secret}"


def hash_of(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def now() -> datetime:
    return datetime.now(UTC)
