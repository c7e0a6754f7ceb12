"""Who is calling. There are no keys yet: the owner of this machine, or nobody."""

import ipaddress
from collections.abc import Mapping

from ragents.errors import PermissionDenied
from ragents.principal import Principal

OWNER = Principal(tenant="default", user="anonymous", role="admin")
"""Whoever can reach the loopback interface of a machine without keys may do what its owner may."""

OPEN_PATHS = frozenset({"/livez", "/readyz", "/metrics"})
FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip")


def principal_of(client_host: str | None, headers: Mapping[bytes, bytes], path: str) -> Principal:
    """PermissionDenied for a caller from elsewhere, probes and metrics apart.

    A request that was forwarded comes from elsewhere, whatever address the header claims: on loopback stands a proxy,
    and what a client writes into X-Forwarded-For proves nothing.
    """
    if path in OPEN_PATHS or (_is_loopback(client_host) and not any(name in headers for name in FORWARDED)):
        return OWNER
    raise PermissionDenied(
        "only callers on this machine are served, since there are no API keys; call from loopback, or put a proxy that "
        "authenticates and drops forwarding headers in front of it"
    )


def _is_loopback(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
