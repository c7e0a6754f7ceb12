"""What every backend says and stores alike."""

from ragents.errors import Conflict, NotFound


def clean(text: str) -> str:
    """What Postgres can store: no NUL, no lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def unknown_collection(name: str) -> NotFound:
    return NotFound("collection", name, remedy="ingest something into it first, or see GET /api/v1/collections")


def other_model(name: str, model: str, dimension: int, new_model: str, new_dimension: int) -> Conflict:
    return Conflict(
        f"collection {name!r} holds vectors of {model!r} ({dimension} dimensions), not of {new_model!r} "
        f"({new_dimension}); use another collection, or set rag.embedding_model to the one it was made with"
    )
