"""Between rows of Postgres and the values of this room."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import fields
from itertools import groupby
from typing import Any

import asyncpg
import numpy as np

from ragents.errors import InputError, NotFound
from ragents.rag.store.text import clean
from ragents.rag.store.types import Neighbourhood, StoredChunks
from ragents.rag.types import Chunk, Excerpt, Source, StoredDocument

STORED = [field.name for field in fields(StoredDocument)]


def clean_name(name: str | None) -> str | None:
    return None if name is None else clean(name)


def clean_json(value: Any) -> Any:
    match value:
        case str():
            return clean(value)
        case dict():
            return {clean(str(key)): clean_json(each) for key, each in value.items()}
        case _:
            return value


def document_uuid(text: str, *, field: str | None = None) -> uuid.UUID:
    """A malformed id is an unknown one; a malformed cursor is the caller's mistake."""
    try:
        return uuid.UUID(text)
    except ValueError:
        if field is not None:
            raise InputError(f"{field} = {text!r}: expected the id of a document", field=field) from None
        raise NotFound("document", text) from None


def chunk_uuid(text: str | None) -> uuid.UUID | None:
    """A malformed id is one that no chunk has."""
    try:
        return None if text is None else uuid.UUID(text)
    except ValueError:
        return None


def source_of(row: asyncpg.Record) -> Source:
    return Source(
        id=str(row["chunk_id"]),
        document_id=str(row["document_id"]),
        uri=row["uri"],
        title=row["title"],
        text=row["body"],
        score=row["score"],
        page=row["page"],
        headings=tuple(row["headings"]),
        similarity=row["similarity"],
        metadata=json.loads(row["metadata"]),
    )


def excerpt_of(rows: Sequence[asyncpg.Record]) -> Excerpt:
    document = stored_of(rows[0])
    sources = tuple(
        Source(
            id=str(row["chunk_id"]),
            document_id=document.id,
            uri=document.uri,
            title=document.title,
            text=row["body"],
            score=0.0,
            page=row["page"],
            headings=tuple(row["headings"]),
            metadata=document.metadata,
        )
        for row in rows
        if row["chunk_id"] is not None
    )
    return Excerpt(document, rows[0]["start"], sources)


def stored_of(row: asyncpg.Record) -> StoredDocument:
    values = {key: row[key] for key in STORED}
    return StoredDocument(**{**values, "id": str(row["id"]), "metadata": json.loads(row["metadata"])})


def stored_chunks_of(rows: Sequence[asyncpg.Record]) -> StoredChunks:
    vectors = np.stack([row["embedding"] for row in rows])
    return StoredChunks(rows[0]["title"], [chunk_of(row) for row in rows], vectors)


def neighbourhoods_of(rows: Sequence[asyncpg.Record]) -> dict[str, Neighbourhood]:
    """`rows` come chunk by chunk."""
    return {
        str(key): Neighbourhood(some[0]["at"], [chunk_of(row) for row in some])
        for key, some in ((key, list(group)) for key, group in groupby(rows, key=lambda row: row["id"]))
    }


def chunk_of(row: asyncpg.Record) -> Chunk:
    place = row["start_offset"], row["end_offset"]
    return Chunk(row["position"], row["body"], *place, row["page"], tuple(row["headings"]))
