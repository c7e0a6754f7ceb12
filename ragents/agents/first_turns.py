"""First turns of new threads, stored without running the graph: exactly as LangGraph would, from what it made once."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.state import CompiledStateGraph

PATTERN_THREAD: RunnableConfig = {"configurable": {"thread_id": "pattern"}}


class FirstTurns:
    """LangGraph's `aupdate_state` reads the thread and runs the node's writers, for a checkpoint that is the same each
    time but for its messages and its response: most of what an answer from the cache costs.
    """

    def __init__(self, graph: CompiledStateGraph[Any, Any, Any, Any], *, last_node: str) -> None:
        self._graph, self._last_node = graph, last_node
        self._pattern: CheckpointTuple | None = None

    async def put(
        self,
        saver: BaseCheckpointSaver[str],
        config: RunnableConfig,
        messages: Sequence[BaseMessage],
        response: dict[str, Any],
    ) -> None:
        """`config` names a thread that nobody has written to."""
        pattern = self._pattern or await self._made(saver, messages, response)
        named = [m if m.id else m.model_copy(update={"id": str(uuid.uuid4())}) for m in messages]
        checkpoint = pattern.checkpoint.copy()
        checkpoint["id"], checkpoint["ts"] = str(uuid6(clock_seq=-2)), datetime.now(UTC).isoformat()
        checkpoint["channel_values"] = {
            **pattern.checkpoint["channel_values"],
            "messages": named,
            "response": response,
        }
        config = {**config, "configurable": {"checkpoint_ns": "", **config["configurable"]}}
        await saver.aput(config, checkpoint, pattern.metadata, checkpoint["channel_versions"])

    async def _made(
        self, saver: BaseCheckpointSaver[str], messages: Sequence[BaseMessage], response: dict[str, Any]
    ) -> CheckpointTuple:
        """By LangGraph, in memory; its versions are of the saver's kind."""
        memory = _Memory(like=saver)
        graph = self._graph.copy({"checkpointer": memory})
        update = {"messages": list(messages), "response": response}
        await graph.aupdate_state(PATTERN_THREAD, update, as_node=self._last_node)
        made = await memory.aget_tuple(PATTERN_THREAD)
        if made is None:
            raise RuntimeError("LangGraph has stored no checkpoint for an update of a thread's state")
        metadata = made.metadata.copy()
        metadata.pop("thread_id", None)  # type: ignore[typeddict-item]  # LangGraph adds what was configured
        self._pattern = made._replace(metadata=metadata)
        return self._pattern


class _Memory(InMemorySaver):
    def __init__(self, *, like: BaseCheckpointSaver[str]) -> None:
        super().__init__()
        self._like = like

    def get_next_version(self, current: str | None, channel: None) -> str:
        return self._like.get_next_version(current, channel)
