"""Who is calling: one function from a request to a Principal.

While there are no keys, whoever sits at this machine may do everything, and nobody else anything. "At this machine"
is decided by the address of the connection. What a header says can only make a caller *less* trusted:
- a forwarding header means that a proxy on this machine stands before a caller we cannot see; so does HTTP/1.0, which
  is how nginx passes requests on where nothing else is configured: with our own Host and no header of its own;
- a Host that is a foreign domain means that a web page reaches us by DNS rebinding;
- a foreign Origin means that a web page elsewhere sends this request through the browser of this machine's user.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from ragents.errors import PermissionDenied
from ragents.principal import ANONYMOUS, Principal

OPEN_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})
LOCAL_ADMIN = Principal(tenant="default", user="anonymous", role="admin")
FORWARDING_HEADERS = (
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "via",
)
MAKE_ONE = "make one with `ragents keys create`"


def principal_of(scope: Scope) -> Principal:
    """The caller of this request. PermissionDenied, with the remedy, for one who is not on this machine."""
    if scope["path"] in OPEN_PATHS:
        return ANONYMOUS  # probes and scrapes change nothing and name no tenant
    headers = Headers(scope=scope)
    # Before the address: the server takes that from X-Forwarded-For where this machine sends it.
    if found := next((name for name in FORWARDING_HEADERS if name in headers), None):
        raise PermissionDenied(
            f"the request came through a proxy (header {found!r}), so its caller may be anyone, and this server has no "
            f"API keys; {MAKE_ONE}, or ask on 127.0.0.1 directly, without that header"
        )
    client = scope.get("client")
    if client is None or not _is_loopback(client[0]):
        raise PermissionDenied(
            f"this server answers callers on its own machine only, as it has no API keys; {MAKE_ONE}, "
            "ask on 127.0.0.1, or reach it through an SSH tunnel (ssh -L 3000:127.0.0.1:3000 HOST)"
        )
    if scope.get("http_version") == "1.0":
        raise PermissionDenied(
            "the request came by HTTP/1.0, as from a proxy, so its caller may be anyone, and this server has no API "
            f"keys; {MAKE_ONE}, or ask on 127.0.0.1 directly, by HTTP/1.1 (curl --http1.1)"
        )
    for name, prefix in (("host", "//"), ("origin", "")):
        sent = headers.get(name)
        if sent is not None and not _names_this_machine(_hostname(prefix + sent)):
            raise PermissionDenied(
                f"{name} = {ascii(sent)[:100]} is not this machine; ask on http://127.0.0.1 or http://localhost"
            )
    return LOCAL_ADMIN


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def _hostname(url: str) -> str:
    """ "" for what names no host, which no rule below takes for this machine ("null", the Origin of a sandbox)."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _names_this_machine(host: str) -> bool:
    """Loopback addresses, localhost, and names without a dot: no public DNS zone can point one of those here."""
    if host == "":
        return False
    return _is_loopback(host) or host.endswith(".localhost") or not any(separator in host for separator in ".:")
