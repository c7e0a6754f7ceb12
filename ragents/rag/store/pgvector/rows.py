"""Between rows of Postgres and the values of this room."""

import json
import uuid
from typing import Any

import asyncpg

from ragents.errors import InputError, NotFound
from ragents.rag.store.text import clean
from ragents.rag.types import Source, StoredDocument


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


def stored_of(row: asyncpg.Record) -> StoredDocument:
    values = {key: value for key, value in row.items() if key != "collection_id"}
    return StoredDocument(**{**values, "id": str(row["id"]), "metadata": json.loads(row["metadata"])})
