"""Vectors between processes, in JSON."""

import base64
from collections.abc import Sequence

import numpy as np

from ragents.embeddings.types import Vectors


def pack(vectors: Vectors) -> list[str]:
    """Base64 of little-endian float32, one string per row: a fifth of the bytes of decimal numbers."""
    return [base64.b64encode(row.tobytes()).decode("ascii") for row in np.ascontiguousarray(vectors, "<f4")]


def unpack(rows: Sequence[str], count: int) -> Vectors:
    """ValueError unless there are `count` rows of one length."""
    if len(rows) != count:
        raise ValueError(f"{len(rows)} rows for {count} texts")
    return np.stack([np.frombuffer(base64.b64decode(row, validate=True), "<f4") for row in rows]).astype(np.float32)
