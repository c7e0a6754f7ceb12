"""What a Redis that is there says when it does not do what it was asked."""

import re

from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

FAILURES = (RedisError, OSError, TimeoutError, TypeError, ValueError)
"""Of a call; the last two of an answer that is none of Redis's."""
CODE = re.compile(r"\b(?:OOM|MISCONF|NOPERM|WRONGTYPE|BUSY|NOREPLICAS)\b")


def reads_only(error: Exception) -> bool:
    """Of a server that was the primary once: another connection may find the new one.

    From within a script an error has no class of its own, here and below.
    """
    return isinstance(error, ReadOnlyError) or "READONLY" in str(error)


def refuses(error: Exception) -> bool:
    """It is there, and goes on answering what it can."""
    return isinstance(error, ResponseError) and not reads_only(error)


def refusal_of(error: Exception) -> str:
    """For people. One word of what it says, since the rest may hold an address."""
    said = CODE.search(str(error))
    if isinstance(error, OutOfMemoryError) or (said is not None and said[0] == "OOM"):
        return "Redis has no memory left"
    return f"Redis refuses ({said[0] if said else type(error).__name__})"
