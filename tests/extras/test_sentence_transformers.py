"""The torch backend, on the packaged weights: the same contract as every other, and the same vectors."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from ragents.embeddings import Embedder, EmbeddingConfig, open_embedder
from ragents.errors import ConfigError, InputError, TextTooLong

pytestmark = pytest.mark.extras
DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
async def embedder() -> AsyncIterator[Embedder]:
    async with open_embedder(EmbeddingConfig(backend="sentence_transformers", device="cpu")) as opened:
        yield opened


async def test_a_model_that_is_nowhere_is_a_settings_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="no/such-model"):
        async with open_embedder(EmbeddingConfig(backend="sentence_transformers"), model="no/such-model"):
            pass


async def test_a_text_beyond_the_limit_is_an_error_and_not_cut(embedder: Embedder) -> None:
    with pytest.raises(TextTooLong) as error:
        await embedder.embed_documents(["short", "word " * 1_000])
    assert (error.value.index, error.value.max_tokens) == (1, 256)


async def test_something_that_is_no_text_is_an_input_error(embedder: Embedder) -> None:
    with pytest.raises(InputError):
        await embedder.embed_documents([5])  # type: ignore[list-item]  # that is the point


async def test_no_texts_give_no_rows(embedder: Embedder) -> None:
    assert (await embedder.embed_documents([])).shape == (0, 384)


async def test_vectors_equal_the_recorded_ones_and_those_of_onnx(embedder: Embedder) -> None:
    texts: list[str] = json.loads((DATA / "minilm_texts.json").read_text(encoding="utf-8"))
    expected = np.load(DATA / "minilm_vectors.npy", allow_pickle=False)
    found = await embedder.embed_documents(texts)
    async with open_embedder(EmbeddingConfig()) as onnx:
        other = await onnx.embed_documents(texts)
        assert onnx.count_tokens(texts) == embedder.count_tokens(texts)
    assert (found * expected).sum(axis=1).min() >= 0.9999
    assert (found * other).sum(axis=1).min() >= 0.9999
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-5)
    assert found.dtype == np.float32
