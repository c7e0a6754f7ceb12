"""The sentence-transformers backend, and the onnx backend held against it. Needs the extra `torch`."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from ragents.embeddings import EmbeddingConfig, Vectors, open_embedder
from ragents.errors import ConfigError
from tests.unit.embeddings.models import add_weights, make_folder, write_json

pytestmark = pytest.mark.extras
DATA = Path(__file__).parents[1] / "data"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
TORCH = EmbeddingConfig(backend="sentence_transformers", device="cpu")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAGENTS_HOME", str(tmp_path / "home"))


async def embed(config: EmbeddingConfig, model: Path | str, *texts: str) -> Vectors:
    async with open_embedder(config, model=str(model)) as embedder:
        return np.vstack([await embedder.embed_documents(texts), await embedder.embed_query(texts[0])])


def make_model(path: Path, *, pooling: str, prompts: dict[str, str]) -> Path:
    """A small random BERT as sentence-transformers writes it."""
    folder = add_weights(make_folder(path, architectures=["BertModel"], vocab_size=11, type_vocab_size=2))
    write_json(
        folder / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ],
    )
    flags = {f"pooling_mode_{name}": name.startswith(pooling) for name in ("cls_token", "mean_tokens")}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 8, **flags})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": False})
    write_json(folder / "config_sentence_transformers.json", {"prompts": prompts})
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **special})
    return folder


async def test_a_model_that_neither_the_machine_nor_the_hub_has_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"'no/such-model'.*cannot be loaded"):
        await embed(TORCH, "no/such-model", "x")


async def test_a_device_that_is_not_there_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="cannot be loaded"):
        await embed(EmbeddingConfig(backend="sentence_transformers", device="no-such-device"), MODEL, "x")


async def test_weights_that_are_a_pickle_are_not_read(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", pooling="mean", prompts={})
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="safetensors"):
        await embed(TORCH, folder, "cat")


def test_texts_are_counted_whole_while_another_thread_cuts() -> None:
    """With one tokenizer for both, a quarter of the counts was wrong, silently."""
    from ragents.embeddings.sentence_transformers import TorchEncoder

    encoder = TorchEncoder.load(TORCH, model=MODEL)
    done = threading.Event()

    def cut() -> None:
        """What `encode` does to its tokenizer, without the seconds in between."""
        while not done.is_set():
            encoder._encoder.tokenizer(["one two three " * 200] * 8, truncation=True, max_length=256, padding=True)

    cutting = threading.Thread(target=cut)
    cutting.start()
    try:
        counts = {len(encoder.tokenize(["word " * 2_000], "document")[0].ids) for _ in range(300)}
    finally:
        done.set()
        cutting.join()
    assert counts == {2_002}


async def test_vectors_equal_the_recorded_ones() -> None:
    texts = [entry["text"] for entry in json.loads((DATA / "minilm_reference.json").read_text(encoding="utf-8"))]
    expected = np.load(DATA / "minilm_reference.npy", allow_pickle=False)
    found = (await embed(TORCH, MODEL, *texts))[:-1]
    assert (found * expected).sum(axis=1).min() >= 0.9999


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("prompts", [{}, {"query": "query: ", "passage": "passage: "}])
async def test_the_onnx_backend_agrees_on_models_of_other_shapes(
    tmp_path: Path, pooling: str, prompts: dict[str, str]
) -> None:
    folder = make_model(tmp_path / "m", pooling=pooling, prompts=prompts)
    texts = "cat", "cat dog tax law", "law " * 15, "", "unknown words"
    by_torch = await embed(TORCH, folder, *texts)
    by_onnx = await embed(EmbeddingConfig(threads=1), folder, *texts)
    assert by_torch.shape == by_onnx.shape == (6, 8)
    assert (by_torch * by_onnx).sum(axis=1).min() > 0.99999


async def test_both_backends_name_and_count_alike(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", pooling="mean", prompts={"document": "passage: "})
    texts = ["", "cat", "cat dog " * 30]
    found = []
    for config in (TORCH, EmbeddingConfig(threads=1)):
        async with open_embedder(config, model=str(folder)) as embedder:
            found.append((embedder.model, embedder.dimension, embedder.max_tokens, embedder.count_tokens(texts)))
    assert found[0] == found[1] == (str(folder), 8, 20, [4, 5, 64])
