"""RAGents from Python, without a server: the documented names, in a process of its own."""

import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import environment

PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from ragents.agents.checkpointing import CheckpointConfig
from ragents.config.rag_config import RAGConfig
from ragents.deployment.app import open_app
from ragents.deployment.bentoml_service import RAGentsService, ServiceConfig
from ragents.deployment.schemas import QueryRequest
from ragents.ingestion import ingest
from ragents.llm.types import ModelConfig
from ragents.rag.cache import CacheConfig

async def main():
    config = ServiceConfig(
        model_config=ModelConfig(), rag_config=RAGConfig(top_k=2), cache_config=CacheConfig(),
        checkpoint_config=CheckpointConfig(),
    )
    async with open_app(config) as app:
        await ingest([Path(sys.argv[1])], store=app.store, embedder=app.encoder, config=config.rag)
        print((await app.engine.query("How heavy is the walrus Bartholomew?")).answer)
    service = RAGentsService()
    await service.initialize(config)
    response = await service.query(QueryRequest(query="How heavy is the walrus Bartholomew?"))
    print(json.loads(response.body)["sources"][0]["uri"])
    await service.close()

asyncio.run(main())
"""


def test_the_documented_names_answer_a_question_without_a_server(home: Path, tmp_path: Path) -> None:
    document = tmp_path / "walrus.md"
    document.write_text("# Walrus\n\nThe walrus Bartholomew weighs nine hundred kilograms.\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(document)],
        env=environment(home / "python"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    answer, uri = done.stdout.splitlines()[-2:]
    assert "nine hundred kilograms" in answer, done.stderr
    assert uri == "walrus.md"
    assert done.returncode == 0
