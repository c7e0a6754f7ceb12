"""How checkpoints are written and read back."""

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer


def strict_serializer() -> JsonPlusSerializer:
    """Only LangGraph's and LangChain's own safe types: the default would call a function that a forged row names."""
    return JsonPlusSerializer(allowed_msgpack_modules=None)
