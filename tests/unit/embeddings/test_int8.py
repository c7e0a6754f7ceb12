"""embeddings.precision: int8. Near the published model, kept beside it, and never mixed with it."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from ragents.embeddings import EmbeddingConfig, Vectors, open_embedder
from ragents.embeddings.quantizing import quantize
from ragents.errors import ConfigError
from tests.unit.embeddings.models import add_own_graph, add_weights, make_folder

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data"
INT8 = EmbeddingConfig(precision="int8", threads=1)


@pytest.fixture
def own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("RAGENTS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


async def embed(folder: Path, *texts: str, config: EmbeddingConfig = INT8) -> tuple[str, Vectors]:
    async with open_embedder(config, model=str(folder)) as embedder:
        return embedder.model, await embedder.embed_documents(texts)


def graphs(home: Path) -> dict[str, int]:
    return {str(each.relative_to(home)): each.stat().st_mtime_ns for each in home.glob("models/*/*")}


def test_another_backend_with_it_is_refused() -> None:
    with pytest.raises(ValidationError, match="only 'onnx' quantizes"):
        EmbeddingConfig(backend="sentence_transformers", precision="int8")


def test_what_is_no_graph_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"precision = 'int8': the graph cannot be quantized: .*; set it to 'fp32'"):
        quantize(b"no graph")


async def test_its_vectors_have_a_name_of_their_own(own_home: Path, tmp_path: Path) -> None:
    folder = add_weights(make_folder(tmp_path / "m"))
    fp32, _ = await embed(folder, "cat", config=EmbeddingConfig(threads=1))
    int8, _ = await embed(folder, "cat")
    assert (fp32, int8) == (str(folder), f"{folder}#int8")


async def test_the_graph_is_made_once_and_the_other_stays(
    own_home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = add_weights(make_folder(tmp_path / "m"))
    with caplog.at_level(logging.WARNING):
        _, first = await embed(folder, "cat dog", "law")
    made = graphs(own_home)
    assert len(made) == 2
    _, again = await embed(folder, "cat dog", "law")
    await embed(folder, "cat", config=EmbeddingConfig(threads=1))
    assert graphs(own_home) == made
    assert (first == again).all()
    assert caplog.text == ""


async def test_a_models_own_graph_is_quantized_as_well(own_home: Path, tmp_path: Path) -> None:
    folder = add_own_graph(make_folder(tmp_path / "m"))
    _, exact = await embed(folder, "cat", "dog law", config=EmbeddingConfig(threads=1))
    _, found = await embed(folder, "cat", "dog law")
    assert (found * exact).sum(axis=1).min() > 0.98


async def test_passages_and_questions_are_near_the_published_model(home: Path) -> None:
    pages = [file.read_text(encoding="utf-8") for file in sorted((ROOT / "docs").glob("*.md"))]
    texts = [text[:600] for page in pages for text in page.split("\n\n") if len(text) > 60][:60]
    assert len(texts) == 60
    async with open_embedder(EmbeddingConfig()) as exact, open_embedder(EmbeddingConfig(precision="int8")) as embedder:
        expected = await exact.embed_documents(texts)
        together = await embedder.embed_documents(texts)
        alone = np.stack([await embedder.embed_query(text) for text in texts])
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-5)
    # Activations are measured per run, so that a text's vector depends a little on the texts of its batch.
    for found in (alone, together):
        near = np.sort((found * expected).sum(axis=1))
        assert near[len(near) // 20] >= 0.985
        assert near[0] >= 0.975, "tables and lists of numbers are the least near"


async def test_texts_that_say_nothing_are_less_near(home: Path) -> None:
    """Nothing but punctuation, random letters, scripts that the model does not know."""
    texts = [entry["text"] for entry in json.loads((DATA / "minilm_reference.json").read_text(encoding="utf-8"))]
    expected = np.load(DATA / "minilm_reference.npy", allow_pickle=False)
    async with open_embedder(EmbeddingConfig(precision="int8")) as embedder:
        found = await embedder.embed_documents(texts)
    assert (found * expected).sum(axis=1).min() >= 0.95
