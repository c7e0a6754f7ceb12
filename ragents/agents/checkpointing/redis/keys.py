"""Names of keys and fields. Ids may hold any characters; what comes out is safe to join and keeps their order."""

from functools import lru_cache
from urllib.parse import quote, unquote

SEPARATOR = b"\0"


def quoted(text: str) -> str:
    """Letters, digits and `_.-~%` only: no braces, colons or NULs."""
    return quote(text, safe="", errors="surrogatepass")


def unquoted(text: str) -> str:
    return unquote(text, errors="surrogatepass")


@lru_cache(maxsize=4096)
def _slot(tenant: str, thread: str) -> str:
    """All keys of a thread begin with it. Redis Cluster keeps them together for what stands in the braces."""
    return f"ragents:{{{quoted(tenant)}:{quoted(thread)}}}"


def thread_keys(tenant: str, thread: str) -> tuple[str, str, str]:
    """Rows, index and lease: the KEYS of thread.lua."""
    slot = _slot(tenant, thread)
    return f"{slot}:rows", f"{slot}:index", f"{slot}:lease"


def log_keys(tenant: str, run: str) -> tuple[str, str]:
    """The events of a run, and what is known of it: the KEYS of append_events.lua."""
    slot = f"ragents:{{run:{quoted(tenant)}:{quoted(run)}}}"
    return f"{slot}:events", f"{slot}:about"


def threads_key(tenant: str) -> str:
    """The tenant's threads; not in their slots."""
    return f"ragents:threads:{quoted(tenant)}"


def run_key(tenant: str, run_id: str) -> str:
    """The threads in which a run wrote."""
    return f"ragents:runs:{quoted(tenant)}:{quoted(run_id)}"


def escape(text: str) -> bytes:
    """Without NUL, in the order of code points: NUL and SOH become SOH SOH and SOH STX."""
    data = text.encode("utf-8", "surrogatepass")
    if b"\0" in data or b"\1" in data:
        return data.replace(b"\1", b"\1\2").replace(b"\0", b"\1\1")
    return data


def unescape(data: bytes) -> str:
    if b"\1" in data:
        data = data.replace(b"\1\1", b"\0").replace(b"\1\2", b"\1")
    return data.decode("utf-8", "surrogatepass")


def joined(*parts: str) -> bytes:
    plain = "\0".join(parts)
    if "\1" not in plain and plain.count("\0") == len(parts) - 1:
        return plain.encode("utf-8", "surrogatepass")  # as nearly all are: a step joins a dozen
    return SEPARATOR.join(escape(part) for part in parts)


def parted(data: bytes) -> list[str]:
    return [unescape(part) for part in data.split(SEPARATOR)]
