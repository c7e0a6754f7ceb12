"""The sync half of LangGraph's contract, for programs without `await`: each method runs its async twin."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from ragents.errors import BackendUnavailable

SYNC_TIMEOUT_S = 60.0

Result = TypeVar("Result")


class SyncTwins(BaseCheckpointSaver[str]):
    """Made on the loop that serves it; the sync methods are called from any other thread.

    asyncio.InvalidStateError when they are called on that loop itself, which they would block for ever.
    """

    def __init__(self, *, serde: SerializerProtocol) -> None:
        super().__init__(serde=serde)
        self._loop = asyncio.get_running_loop()

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        try:
            inside = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            inside = False
        if inside:
            work.close()
            raise asyncio.InvalidStateError(
                "a sync method of the checkpoint saver was called on its own event loop; use the async one "
                "(await graph.ainvoke(...)), or call it from another thread"
            )
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result(SYNC_TIMEOUT_S)
        except TimeoutError:
            running.cancel()
            raise BackendUnavailable("checkpointer", f"no answer within {SYNC_TIMEOUT_S:g} s") from None

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self._wait(self.aget_tuple(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        found = cast(
            AsyncGenerator[CheckpointTuple, None], self.alist(config, filter=filter, before=before, limit=limit)
        )

        async def following() -> CheckpointTuple | None:
            return await anext(found, None)

        async def close() -> None:
            await found.aclose()

        try:
            while (each := self._wait(following())) is not None:
                yield each
        finally:
            self._wait(close())

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return self._wait(self.aput(config, checkpoint, metadata, new_versions))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        self._wait(self.aput_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        self._wait(self.adelete_thread(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        self._wait(self.adelete_for_runs(run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        self._wait(self.acopy_thread(source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        self._wait(self.aprune(thread_ids, strategy=strategy))

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        return self._wait(self.aget_delta_channel_history(config=config, channels=channels))
