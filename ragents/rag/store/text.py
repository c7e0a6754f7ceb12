"""What every backend says and stores alike."""

from ragents.errors import Conflict, InputError, NotFound

MAX_URI_BYTES, MAX_NAME_BYTES = 2_000, 200
"""What an index row can hold, with room for the tenant."""


def check_names(uri: str, collection: str) -> None:
    """InputError for what no index could hold."""
    for field, value, limit in (("uri", uri, MAX_URI_BYTES), ("collection", collection, MAX_NAME_BYTES)):
        size = len(value.encode("utf-8", "replace"))
        if size > limit or not value:
            raise InputError(f"{field} = {value[:60]!r}... has {size} bytes; 1 to {limit} are taken", field=field)


def clean(text: str) -> str:
    """What Postgres can store: no NUL, no lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def unknown_collection(name: str) -> NotFound:
    return NotFound("collection", name, remedy="ingest something into it first, or see GET /api/v1/collections")


def other_model(name: str, model: str, dimension: int, new_model: str, new_dimension: int) -> Conflict:
    return Conflict(
        f"collection {name!r} holds vectors of {model!r} ({dimension} dimensions), not of {new_model!r} "
        f"({new_dimension}); move it with `ragents reembed`, use another collection, or set rag.embedding_model to the "
        "one it was made with"
    )
