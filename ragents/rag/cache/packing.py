"""Values of the cache as bytes: strict on the way back, so that what cannot be read is a miss and never an error."""

import json
import logging
import struct

import numpy as np
import zstandard
from pydantic import TypeAdapter, ValidationError

from ragents.embeddings.types import Vectors
from ragents.rag.types import RAGResponse

log = logging.getLogger(__name__)

COMPRESS_ABOVE_BYTES = 512
MAX_VALUE_BYTES = 16 * 1024 * 1024
_RAW, _ZSTD = b"\x00", b"\x01"
_RESPONSE: TypeAdapter[RAGResponse] = TypeAdapter(RAGResponse)
_TEXTS: TypeAdapter[tuple[str, ...]] = TypeAdapter(tuple[str, ...])


def pack(value: bytes, *, compress: bool) -> bytes:
    if compress and len(value) > COMPRESS_ABOVE_BYTES:
        return _ZSTD + zstandard.ZstdCompressor(level=1).compress(value)
    return _RAW + value


def unpack(packed: bytes) -> bytes:
    """Nothing, for what cannot be unpacked: no value is empty."""
    tag, body = packed[:1], packed[1:]
    if tag != _ZSTD:
        return body if tag == _RAW else b""
    try:
        return decompress(body)
    except zstandard.ZstdError:
        log.warning("a cache entry could not be decompressed and is ignored")
        return b""


def decompress(frame: bytes) -> bytes:
    """ZstdError for more than MAX_VALUE_BYTES: for a frame that tells its size zstandard makes room for all of it,
    whatever `max_output_size` says, and a megabyte may tell of a terabyte.
    """
    if zstandard.frame_content_size(frame) > MAX_VALUE_BYTES:
        raise zstandard.ZstdError("larger than anything that is kept")
    return zstandard.ZstdDecompressor().decompress(frame, max_output_size=MAX_VALUE_BYTES)


def write_response(response: RAGResponse) -> bytes:
    return _RESPONSE.dump_json(response)


def read_response(value: bytes) -> RAGResponse | None:
    try:
        return _RESPONSE.validate_json(value)
    except ValidationError:
        log.warning("a cache entry is not a response of this version and is ignored")
        return None


def write_texts(texts: tuple[str, ...]) -> bytes:
    return json.dumps(texts).encode()  # ASCII: half of a surrogate pair is written too


def read_texts(value: bytes) -> tuple[str, ...] | None:
    try:
        return _TEXTS.validate_json(value, strict=True)
    except ValidationError:
        log.warning("a cache entry is no list of texts and is ignored")
        return None


def write_vector(vector: Vectors) -> bytes:
    return struct.pack("<I", vector.shape[0]) + np.ascontiguousarray(vector, dtype="<f4").tobytes()


def read_vector(value: bytes) -> Vectors | None:
    if len(value) < 4 or len(value) != 4 + 4 * struct.unpack_from("<I", value)[0]:
        return None
    vector = np.frombuffer(value, dtype="<f4", offset=4).astype(np.float32)
    return vector if np.isfinite(vector).all() else None  # one bit may make a number none, and no store takes that
