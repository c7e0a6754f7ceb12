"""Conversations that survive the process. LangGraph's BaseCheckpointSaver is the port, for any LangGraph program:

    saver = await create_checkpoint_saver(CheckpointConfig(backend="postgres", postgres_url=...))
    graph = builder.compile(checkpointer=saver)
    ...
    await close_checkpoint_saver(saver)

or `async with open_checkpoint_saver(config) as saver`, or, for programs without an event loop,
`with checkpoint_saver(config) as saver`.
"""

from ragents.agents.checkpointing.opening import (
    OnWrite,
    ThreadState,
    checkpoint_saver,
    close_checkpoint_saver,
    create_checkpoint_saver,
    open_checkpoint_saver,
    open_thread_state,
)
from ragents.agents.checkpointing.types import CheckpointConfig

__all__ = [
    "CheckpointConfig",
    "OnWrite",
    "ThreadState",
    "checkpoint_saver",
    "close_checkpoint_saver",
    "create_checkpoint_saver",
    "open_checkpoint_saver",
    "open_thread_state",
]
