"""The onnx backend: faithful to the published model, and careful with its files."""

import json
import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest

from ragents.embeddings import EmbeddingConfig, open_embedder
from ragents.embeddings.bundle import bundle
from ragents.embeddings.onnx import _batches
from ragents.embeddings.weights import find_model
from ragents.errors import ConfigError

DATA = Path(__file__).parents[2] / "data"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"


async def test_a_model_that_is_not_there_says_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGENTS_MODEL_DIR", "/nowhere")
    with pytest.raises(ConfigError, match=r"'no/such-model'.*/nowhere/no/such-model.*RAGENTS_MODEL_DIR"):
        async with open_embedder(EmbeddingConfig(), model="no/such-model"):
            pass


async def test_damaged_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAGENTS_HOME", str(tmp_path / "home"))
    folder = bundle(tmp_path / "models")
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    weights.unlink()  # it may be a second name of the installed file
    content[-1] ^= 1
    weights.write_bytes(content)
    monkeypatch.setenv("RAGENTS_MODEL_DIR", str(tmp_path / "models"))
    with pytest.raises(ConfigError, match="damaged or not the published file"):
        async with open_embedder(EmbeddingConfig()):
            pass


async def test_a_model_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "gpt"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "gpt2", "hidden_act": "gelu_new"}')
    for name in ("tokenizer.json", "model.safetensors"):
        (folder / name).write_text("{}")
    monkeypatch.setenv("RAGENTS_MODEL_DIR", str(tmp_path))
    monkeypatch.setenv("RAGENTS_HOME", str(tmp_path / "home"))
    with pytest.raises(ConfigError, match="gpt2"):
        async with open_embedder(EmbeddingConfig(), model="gpt"):
            pass


async def test_vectors_equal_those_of_sentence_transformers() -> None:
    texts: list[str] = json.loads((DATA / "minilm_texts.json").read_text(encoding="utf-8"))
    expected = np.load(DATA / "minilm_vectors.npy", allow_pickle=False)
    async with open_embedder(EmbeddingConfig()) as embedder:
        found = await embedder.embed_documents(texts)
    cosine = (found * expected).sum(axis=1)
    assert len(texts) == 100
    assert cosine.min() >= 0.9999


async def test_a_damaged_graph_is_built_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAGENTS_HOME", str(tmp_path))
    async with open_embedder(EmbeddingConfig()) as embedder:
        before = await embedder.embed_query("hello")
    (graph,) = tmp_path.glob("models/*/model.onnx")
    graph.write_bytes(graph.read_bytes()[:1000])
    async with open_embedder(EmbeddingConfig()) as embedder:
        assert np.array_equal(await embedder.embed_query("hello"), before)


async def test_without_a_place_for_the_graph_it_is_built_in_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("a file where a directory is wanted")
    monkeypatch.setenv("RAGENTS_HOME", str(tmp_path / "file"))
    async with open_embedder(EmbeddingConfig()) as embedder:
        assert (await embedder.embed_query("hello")).shape == (384,)


def test_the_bundle_holds_the_whole_model_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    first = bundle(tmp_path)
    stamp = os.stat(first / "model.safetensors")[stat.ST_MTIME]
    assert bundle(tmp_path) == first
    assert os.stat(first / "model.safetensors")[stat.ST_MTIME] == stamp
    shutil.rmtree(first / "1_Pooling")
    bundle(tmp_path)
    assert (first / "1_Pooling" / "config.json").is_file()


def test_the_directory_of_the_variable_comes_before_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = bundle(tmp_path)
    monkeypatch.setenv("RAGENTS_MODEL_DIR", str(tmp_path))
    assert find_model(MODEL) == folder


@pytest.mark.parametrize("lengths", [[], [5], [256] * 5, [1, 500, 2, 3, 499], list(range(1, 257))])
def test_batches_hold_each_text_once_within_the_budget(lengths: list[int]) -> None:
    batches = list(_batches(lengths))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 500
