"""Vectors between numpy and pgvector's binary format: uint16 dimension, uint16 unused, big-endian float32s."""

import struct

import asyncpg
import numpy as np

from ragents.embeddings.types import Vectors

HEADER = struct.Struct(">HH")


def encode_vector(vector: Vectors) -> bytes:
    return HEADER.pack(vector.shape[0], 0) + vector.astype(">f4").tobytes()


def decode_vector(data: bytes) -> Vectors:
    return np.frombuffer(data, dtype=">f4", offset=HEADER.size).astype(np.float32)


async def register(connection: asyncpg.Connection, *, schema: str) -> None:
    """Parameters of the type vector, and elements of vector[], are given as the bytes of `encode_vector`.

    asyncpg hands the elements of an array to the codec of the element, so both ways take the same value.
    """
    await connection.set_type_codec(
        "vector", schema=schema, encoder=lambda data: data, decoder=decode_vector, format="binary"
    )
