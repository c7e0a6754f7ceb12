"""How values become bytes: msgpack, then zstd, then AES-GCM, behind one tag byte.

    tag      1 byte: the low three bits name the serializer's type, then one bit each for zstd and AES-GCM
    key id   4 bytes, encrypted values only: which key (the first bytes of its hash), so that keys can be rotated
    nonce    12 bytes, encrypted values only
    body     the serialized value

The place of a value (tenant, thread, namespace, checkpoint, ...) is authenticated with it: a row that was moved
elsewhere does not decrypt. Compression comes first, since ciphertext does not compress.
"""

import hashlib
import hmac
import os
import threading
from collections.abc import Sequence
from typing import Any

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from langgraph.checkpoint.serde.base import SerializerProtocol

from ragents.agents.types import ThreadKey
from ragents.errors import CheckpointRefused

COMPRESS_ABOVE = 512
"""Bytes. Below it zstd saves little and costs 20 us."""
MAX_BYTES = 256 * 1024 * 1024
"""Of one value, decompressed: a forged frame cannot ask for more."""
TYPES = ("null", "bytes", "bytearray", "msgpack")
TYPE_MASK, COMPRESSED, ENCRYPTED = 0b111, 0b1000, 0b1_0000
KEY_ID_BYTES, NONCE_BYTES, KEY_BYTES = 4, 12, 32


class Codec:
    """`keys`: 32 bytes each; the first encrypts, all of them decrypt. None: nothing is encrypted.

    With keys a plaintext row is refused, and without them an encrypted one: CheckpointRefused.
    """

    def __init__(self, *, compress: bool = True, keys: Sequence[bytes] = ()) -> None:
        if any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"a key must have {KEY_BYTES} bytes")
        self._compress = compress
        self._keys = {hashlib.sha256(key).digest()[:KEY_ID_BYTES]: key for key in keys}
        self._key_id = next(iter(self._keys), None)
        self._zstd = threading.local()  # zstandard's contexts are not to be shared between threads

    def encode(self, serde: SerializerProtocol, value: Any, place: Sequence[str]) -> bytes:
        return self.seal(*serde.dumps_typed(value), place)

    def seal(self, type_: str, data: bytes, place: Sequence[str]) -> bytes:
        """`data` as `serde.dumps_typed` gave it."""
        if len(data) > MAX_BYTES:
            raise CheckpointRefused(f"a value of {len(data)} bytes is too large for a checkpoint (at most {MAX_BYTES})")
        tag = TYPES.index(type_)
        if self._compress and len(data) > COMPRESS_ABOVE:
            packed = self._compressor.compress(data)
            if len(packed) < len(data):
                tag, data = tag | COMPRESSED, packed
        if self._key_id is None:
            return bytes((tag,)) + data
        header = bytes((tag | ENCRYPTED,)) + self._key_id
        nonce = os.urandom(NONCE_BYTES)
        bound = _bound(place)
        cipher = AESGCM(_thread_key(self._keys[self._key_id], place))
        return header + nonce + cipher.encrypt(nonce, data, header + bound)

    def decode(self, serde: SerializerProtocol, data: bytes, place: Sequence[str]) -> Any:
        """CheckpointRefused for anything that was not written by this codec, with these keys, for this place."""
        if not data:
            raise CheckpointRefused("an empty row; it was not written by RAGents")
        tag, body = data[0], data[1:]
        type_ = tag & TYPE_MASK
        if type_ >= len(TYPES) or tag > TYPE_MASK | COMPRESSED | ENCRYPTED:
            raise CheckpointRefused(f"a row with the unknown tag {tag}; it was not written by this version of RAGents")
        body = self._decrypt(data, place) if tag & ENCRYPTED else self._plain(body)
        if tag & COMPRESSED:
            body = self._decompress(body)
        return serde.loads_typed((TYPES[type_], body))

    def _plain(self, body: bytes) -> bytes:
        if self._keys:
            raise CheckpointRefused("a plaintext row where only encrypted ones are accepted; delete the thread")
        return body

    def _decrypt(self, data: bytes, place: Sequence[str]) -> bytes:
        header, body = data[: 1 + KEY_ID_BYTES], data[1 + KEY_ID_BYTES :]
        key = self._keys.get(header[1:])
        if key is None:
            raise CheckpointRefused("a row encrypted with another key; add that key to checkpoint.encryption_keys")
        try:
            return AESGCM(_thread_key(key, place)).decrypt(
                body[:NONCE_BYTES], body[NONCE_BYTES:], header + _bound(place)
            )
        except (InvalidTag, ValueError):
            raise CheckpointRefused("a row that was changed or moved from another place; delete the thread") from None

    def _decompress(self, body: bytes) -> bytes:
        try:
            size = zstandard.frame_content_size(body)
            if not 0 <= size <= MAX_BYTES:
                raise CheckpointRefused(f"a compressed row that claims {size} bytes (at most {MAX_BYTES})")
            data: bytes = self._decompressor.decompress(body, max_output_size=MAX_BYTES)
        except zstandard.ZstdError as error:
            raise CheckpointRefused(f"a damaged row ({error})") from None
        return data

    @property
    def _compressor(self) -> zstandard.ZstdCompressor:
        if not hasattr(self._zstd, "compressor"):
            self._zstd.compressor = zstandard.ZstdCompressor(level=1)
        compressor: zstandard.ZstdCompressor = self._zstd.compressor
        return compressor

    @property
    def _decompressor(self) -> zstandard.ZstdDecompressor:
        if not hasattr(self._zstd, "decompressor"):
            self._zstd.decompressor = zstandard.ZstdDecompressor()
        decompressor: zstandard.ZstdDecompressor = self._zstd.decompressor
        return decompressor


def call_place(thread: ThreadKey, key: str) -> tuple[str, ...]:
    """Where the ledger keeps the result of a tool's call."""
    return (thread.tenant, thread.thread, "call", key)


def _bound(place: Sequence[str]) -> bytes:
    """Each part with its length, so that no two places read alike."""
    parts = [part.encode("utf-8", "surrogatepass") for part in place]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _thread_key(key: bytes, place: Sequence[str]) -> bytes:
    """A key per tenant and thread: random nonces are safe for 2**32 values of one key, and no thread writes as many."""
    return hmac.digest(key, b"ragents checkpoint\0" + _bound(place[:2]), "sha256")
