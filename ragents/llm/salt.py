"""Salts of vLLM's prefix cache: what one tenant's prompt has warmed, no other tenant's question can time.

See vLLM's `cache_salt`: a request shares cached prefixes with requests of the same salt alone.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

TENANT: ContextVar[str] = ContextVar("tenant", default="")


@contextmanager
def asked_by(tenant: str) -> Iterator[None]:
    """Models that are called inside are called on behalf of `tenant`.

    A context variable, since between a question and its model stand graphs and libraries that carry no tenant.
    """
    token = TENANT.set(tenant)
    try:
        yield
    finally:
        TENANT.reset(token)


def create_salt(key: str | None) -> Callable[[], str]:
    """The salt of the tenant at hand. It tells nothing about the tenant to whoever reads it without the key."""
    secret = (key or secrets.token_hex(32)).encode()
    return lambda: hmac.new(secret, TENANT.get().encode(), hashlib.sha256).hexdigest()
