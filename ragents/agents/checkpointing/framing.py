"""Several byte strings as one."""

from collections.abc import Iterable

from ragents.errors import CheckpointRefused


def framed(parts: Iterable[bytes]) -> bytes:
    """Each part after its length as four bytes, big-endian."""
    return b"".join([piece for part in parts for piece in (len(part).to_bytes(4, "big"), part)])


def parts_of(data: bytes) -> list[bytes]:
    """What `framed` was given; CheckpointRefused for what it did not make."""
    parts: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        parts.append(data[at + 4 : end])
        at = end
    if at != len(data):
        raise CheckpointRefused("a damaged row: it ends too early")
    return parts
