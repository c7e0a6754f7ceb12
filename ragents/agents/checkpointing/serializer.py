"""How checkpoints are written and read back."""

from collections.abc import Iterable

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer


def strict_serializer(allowed_types: Iterable[str] = ()) -> JsonPlusSerializer:
    """LangGraph's and LangChain's own safe types, and those allowed by name ("package.module.Class").

    The serializer's default would call a function that a forged row names.
    """
    allowed = [tuple(name.rsplit(".", 1)) for name in allowed_types]
    return JsonPlusSerializer(allowed_msgpack_modules=allowed or None)
