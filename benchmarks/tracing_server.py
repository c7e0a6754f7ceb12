"""python -m benchmarks.tracing_server PORT: the service under uvicorn, over the doubles that ship."""

import asyncio
import sys

import uvicorn

from ragents.deployment.bentoml_service import RAGentsService, _state
from ragents.principal import Principal
from ragents.rag.types import Chunk, Document

TEXTS = {
    f"{name}.md": f"Adaptive batching of {name} sits at the {name} because that is where its model is. It costs little."
    for name in ("encoder", "reranker", "parser", "store", "cache", "gate", "queue", "thread")
}


async def main(port: int) -> None:
    config = uvicorn.Config(
        RAGentsService.to_asgi(), host="127.0.0.1", port=port, log_level="warning", access_log=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not _state.started:
        await asyncio.sleep(0.05)
    engine = _state.app.engine
    for uri, text in TEXTS.items():
        await engine.store.upsert(
            Document(uri, uri, "md", uri),
            [Chunk(0, text, 0, len(text))],
            await engine.embedder.embed_documents([text]),
            principal=Principal("default"),
            collection="default",
            embedding_model=engine.embedder.model,
        )
    print("ready", flush=True)
    await serving


asyncio.run(main(int(sys.argv[1])))
