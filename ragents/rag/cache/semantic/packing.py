"""Answers as bytes: JSON of this version's RAGResponse, compressed."""

import zstandard
from pydantic import TypeAdapter, ValidationError

from ragents.rag.types import RAGResponse

MAX_UNPACKED_BYTES = 16 * 1024 * 1024
_RESPONSE: TypeAdapter[RAGResponse] = TypeAdapter(RAGResponse)


def pack(response: RAGResponse) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(_RESPONSE.dump_json(response))


def unpack(packed: bytes) -> RAGResponse | None:
    """None for what is not an answer of this version."""
    try:
        text = zstandard.ZstdDecompressor().decompress(packed, max_output_size=MAX_UNPACKED_BYTES)
        return _RESPONSE.validate_json(text)
    except (zstandard.ZstdError, ValidationError):
        return None
