"""The door: one embedder per backend, and no library that it does not need."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from ragents.embeddings import EmbeddingConfig, EncodedBatch, create_embedder, open_embedder
from ragents.errors import MissingExtra
from tests.unit.embeddings.models import add_weights, make_folder

LIGHT = """
import sys
import ragents.embeddings as room
room.create_embedder(room.EmbeddingConfig(backend="hashing"))
print([name for name in ("onnxruntime", "onnx", "torch", "tokenizers") if name in sys.modules])
"""


def test_a_backend_whose_package_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "ragents.embeddings.sentence_transformers", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'ragents\[torch\]'"):
        create_embedder(EmbeddingConfig(backend="sentence_transformers"))


def test_creating_one_reads_no_file() -> None:
    assert create_embedder(EmbeddingConfig(), model="no/such").model == "no/such"


def test_the_double_loads_no_library_of_the_others() -> None:
    run = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "[]"


async def test_what_is_opened_is_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAGENTS_HOME", str(tmp_path))
    folder = add_weights(make_folder(tmp_path / "model"))
    async with open_embedder(EmbeddingConfig(), model=str(folder)) as embedder:
        await embedder.embed_query("x")
    with pytest.raises(RuntimeError, match="not open"):
        await embedder.embed_query("x")


async def test_questions_of_one_moment_are_one_batch_of_the_real_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAGENTS_HOME", str(tmp_path))
    folder = add_weights(make_folder(tmp_path / "model"))
    batches: list[EncodedBatch] = []
    async with open_embedder(EmbeddingConfig(), model=str(folder), observe=batches.append) as embedder:
        vectors = await asyncio.gather(*(embedder.embed_query(text) for text in ("cat", "dog law", "tax")))
        assert [(batch.kind, batch.texts) for batch in batches] == [("query", 3)]
        for vector, text in zip(vectors, ("cat", "dog law", "tax"), strict=True):
            assert float(vector @ await embedder.embed_query(text)) > 0.99999
