"""The MLX backend, held against the onnx backend; a few short strings, since MLX is slow on a CPU. Needs `mlx`."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ragents.embeddings import EmbeddingConfig, Vectors, open_embedder
from ragents.errors import ConfigError, TextTooLong
from tests.extras.test_sentence_transformers import make_model
from tests.unit.embeddings.models import make_folder

pytestmark = pytest.mark.extras

DATA = Path(__file__).parents[1] / "data"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
MLX = EmbeddingConfig(backend="mlx")


@pytest.fixture(autouse=True)
def own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAGENTS_HOME", str(tmp_path / "home"))


def make_with_pooler(path: Path, **options: Any) -> Path:
    """mlx-embeddings wants the pooler's weights, which most published models have, and uses them for nothing here."""
    folder = make_model(path, **options)
    tensors = load_file(folder / "model.safetensors")
    pooler = {"pooler.dense.weight": np.zeros((8, 8), np.float32), "pooler.dense.bias": np.zeros(8, np.float32)}
    save_file(tensors | pooler, folder / "model.safetensors")
    return folder


async def embed(config: EmbeddingConfig, model: Path | str, *texts: str) -> Vectors:
    async with open_embedder(config, model=str(model)) as embedder:
        return np.vstack([await embedder.embed_documents(texts), await embedder.embed_query(texts[0])])


async def test_a_model_that_neither_the_machine_nor_the_hub_has_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"'no/such-model': it cannot be loaded"):
        await embed(MLX, "no/such-model", "x")


async def test_a_folder_without_weights_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be loaded"):
        await embed(MLX, make_folder(tmp_path / "m"), "cat")


async def test_vectors_equal_the_recorded_ones() -> None:
    entries = json.loads((DATA / "minilm_reference.json").read_text(encoding="utf-8"))
    chosen = [n for n, entry in enumerate(entries) if len(entry["text"]) < 60][:12]
    expected = np.load(DATA / "minilm_reference.npy", allow_pickle=False)[chosen]
    found = (await embed(MLX, MODEL, *(entries[n]["text"] for n in chosen)))[:-1]
    assert (found * expected).sum(axis=1).min() >= 0.9999


@pytest.mark.parametrize("pooling", ["mean", "cls"])
async def test_it_agrees_with_the_onnx_backend_on_models_of_other_shapes(tmp_path: Path, pooling: str) -> None:
    folder = make_with_pooler(tmp_path / "m", pooling=pooling, prompts={"query": "query: ", "passage": "passage: "})
    texts = "cat", "cat dog tax law", "law " * 10, "", "unknown words"
    by_mlx, by_onnx = await embed(MLX, folder, *texts), await embed(EmbeddingConfig(threads=1), folder, *texts)
    assert by_mlx.shape == by_onnx.shape == (6, 8)
    assert (by_mlx * by_onnx).sum(axis=1).min() > 0.99999


async def test_questions_and_documents_at_once_and_texts_beyond_the_limit(tmp_path: Path) -> None:
    folder = make_with_pooler(tmp_path / "m", pooling="mean", prompts={})
    async with open_embedder(MLX, model=str(folder)) as embedder:
        assert (embedder.dimension, embedder.max_tokens) == (8, 20)
        with pytest.raises(TextTooLong):
            await embedder.embed_query("cat " * 30)
        documents, *questions = await asyncio.gather(
            embedder.embed_documents(["cat", "dog law"] * 20), *(embedder.embed_query("cat") for _ in range(8))
        )
    assert (np.stack(questions) @ documents[0]).min() > 0.99999
