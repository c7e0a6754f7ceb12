"""Answers as bytes: JSON of this version's RAGResponse, compressed."""

import zstandard
from pydantic import TypeAdapter, ValidationError

from ragents.rag.cache.packing import decompress
from ragents.rag.types import RAGResponse

_RESPONSE: TypeAdapter[RAGResponse] = TypeAdapter(RAGResponse)


def pack(response: RAGResponse) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(_RESPONSE.dump_json(response))


def unpack(packed: bytes) -> RAGResponse | None:
    """None for what is not an answer of this version."""
    try:
        return _RESPONSE.validate_json(decompress(packed))
    except (zstandard.ZstdError, ValidationError):
        return None
