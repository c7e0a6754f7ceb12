"""Writes as the records of langgraph_writes: number, then what is framed. The migration knows the first four bytes."""

from ragents.agents.checkpointing.framing import framed, parts_of
from ragents.agents.checkpointing.rows import StoredWrite
from ragents.errors import CheckpointRefused

BIAS = 2**31
"""Added to a write's number, which may be negative."""


def pack_write(write: StoredWrite) -> bytes:
    parts = framed((_bytes(write.task_path), _bytes(write.channel), write.payload))
    return (write.index + BIAS).to_bytes(4, "big") + parts


def unpack_write(task_id: str, record: bytes) -> StoredWrite:
    parts = parts_of(record[4:])
    if len(parts) != 3:
        raise CheckpointRefused("a row of another shape; it was not written by this version of RAGents")
    path, channel, payload = parts
    index = int.from_bytes(record[:4], "big") - BIAS
    return StoredWrite(task_id, _text(path), index, _text(channel), payload)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
