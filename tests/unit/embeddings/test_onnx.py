"""The onnx backend: faithful to the published model, and careful with the files it is given."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ragents.embeddings import EmbeddingConfig, Vectors, open_embedder
from ragents.embeddings.weights import find_model
from ragents.errors import ConfigError, TextTooLong
from tests.unit.embeddings.models import add_own_graph, add_weights, make_folder, write_json

DATA = Path(__file__).parents[2] / "data"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("RAGENTS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


async def embed(folder: Path | str, *texts: str) -> Vectors:
    async with open_embedder(EmbeddingConfig(threads=1), model=str(folder)) as embedder:
        return await embedder.embed_documents(texts)


async def refusal(folder: Path) -> str:
    with pytest.raises(ConfigError) as error:
        await embed(folder, "cat")
    return str(error.value)


def stamps(home: Path) -> dict[str, int]:
    return {each.name: each.stat().st_mtime_ns for each in home.glob("models/*/*")}


async def test_damaged_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "all-MiniLM-L6-v2"
    shutil.copytree(find_model(MODEL), folder)
    with (folder / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x01")
    monkeypatch.setenv("RAGENTS_MODEL_DIR", str(tmp_path / "models"))
    with pytest.raises(ConfigError, match="damaged or not the published file"):
        await embed(MODEL, "x")


async def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = add_weights(make_folder(tmp_path / "gpt", model_type="gpt2", hidden_act="gelu_new"))
    assert "'gpt2' model with 'gelu_new'" in await refusal(folder)


async def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    assert "neither onnx/model.onnx nor model.safetensors" in await refusal(make_folder(tmp_path / "m"))


async def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"no header")
    assert "model.safetensors cannot be read" in await refusal(folder)


async def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path) -> None:
    folder = add_weights(make_folder(tmp_path / "m", num_hidden_layers=3))
    assert "has no tensor 'encoder.layer.2." in await refusal(folder)


async def test_a_shape_that_does_not_fit_the_weights_is_refused(tmp_path: Path) -> None:
    await refusal(add_weights(make_folder(tmp_path / "m", num_attention_heads=3)))


async def test_a_config_without_its_shape_is_refused(tmp_path: Path) -> None:
    folder = add_weights(make_folder(tmp_path / "m"))
    write_json(folder / "config.json", {"model_type": "bert", "hidden_act": "gelu"})
    assert "lacks 'num_hidden_layers'" in await refusal(folder)


async def test_a_damaged_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = add_weights(make_folder(tmp_path / "m"))
    (folder / "tokenizer.json").write_text("{}")
    assert "cannot be loaded" in await refusal(folder)


async def test_a_damaged_graph_of_its_own_is_refused(tmp_path: Path) -> None:
    folder = add_own_graph(make_folder(tmp_path / "m"))
    (folder / "onnx" / "model.onnx").write_bytes(b"no graph")
    assert "cannot be loaded" in await refusal(folder)


async def test_vectors_equal_those_of_sentence_transformers() -> None:
    """100 texts in 12 scripts, of 2 to 256 tokens; recorded by tests/data/record_minilm_reference.py."""
    texts = [entry["text"] for entry in json.loads((DATA / "minilm_reference.json").read_text(encoding="utf-8"))]
    expected = np.load(DATA / "minilm_reference.npy", allow_pickle=False)
    found = await embed(MODEL, *texts)
    assert found.shape == expected.shape == (100, 384)
    assert (found * expected).sum(axis=1).min() >= 0.9999
    assert np.abs(found - expected).max() < 1e-4


async def test_the_second_start_reads_what_the_first_one_built(home: Path, tmp_path: Path) -> None:
    folder = add_weights(make_folder(tmp_path / "m"))
    before = await embed(folder, "cat law")
    built = stamps(home)
    assert len(built) == 1
    assert np.array_equal(await embed(folder, "cat law"), before)
    assert stamps(home) == built


async def test_without_a_place_for_the_graph_it_is_built_in_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("a file where a directory is wanted")
    monkeypatch.setenv("RAGENTS_HOME", str(tmp_path / "file"))
    folder = add_weights(make_folder(tmp_path / "m"))
    assert (await embed(folder, "cat")).shape == (1, 8)
    assert "built at every start" in caplog.text


async def test_other_shapes_pool_as_their_folder_says(tmp_path: Path) -> None:
    """The same weights, so only the pooling tells them apart, in the graph's cache as well."""
    mean, cls = (add_weights(make_folder(tmp_path / name)) for name in ("mean", "cls"))
    write_json(mean / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False})
    write_json(cls / "1_Pooling" / "config.json", {"pooling_mode": "cls"})
    texts = "cat dog tax", "law"
    by_mean, by_cls, again = await embed(mean, *texts), await embed(cls, *texts), await embed(mean, *texts)
    assert np.linalg.norm(by_mean, axis=1) == pytest.approx([1, 1])
    assert np.linalg.norm(by_cls, axis=1) == pytest.approx([1, 1])
    assert np.abs(by_mean - by_cls).max() > 0.01
    assert np.array_equal(again, by_mean)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
async def test_a_graph_of_its_own_is_used_and_pooled(tmp_path: Path, pooling: str) -> None:
    folder = add_own_graph(make_folder(tmp_path / "m"))
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode": pooling})
    cat, both, padded = await embed(folder, "cat", "cat dog", "cat " * 9)
    # [CLS] and [SEP] weigh the same in each direction, cat and dog point along the first two axes.
    if pooling == "cls":
        assert cat == pytest.approx(both)
    else:
        assert cat.argmax() == padded.argmax() == 0
        assert both[0] == pytest.approx(both[1])


async def test_padding_does_not_change_a_vector(tmp_path: Path) -> None:
    folder = add_weights(make_folder(tmp_path / "m"))
    together = await embed(folder, "cat", "cat dog tax law " * 6)
    assert together[0] == pytest.approx((await embed(folder, "cat"))[0], abs=1e-6)


async def test_the_limit_is_the_folders_and_never_beyond_its_positions(tmp_path: Path) -> None:
    folder = add_weights(make_folder(tmp_path / "m"))
    for stated, expected in ((None, 32), (10, 10), (512, 32)):
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": stated})
        async with open_embedder(EmbeddingConfig(threads=1), model=str(folder)) as embedder:
            assert embedder.max_tokens == expected
            await embedder.embed_query("cat " * (expected - 2))
            with pytest.raises(TextTooLong):
                await embedder.embed_query("cat " * (expected - 1))


async def test_prompts_go_before_texts_and_count(tmp_path: Path) -> None:
    plain, prompted = (add_weights(make_folder(tmp_path / name)) for name in ("plain", "prompted"))
    write_json(
        prompted / "config_sentence_transformers.json", {"prompts": {"query": "query: ", "passage": "passage: "}}
    )
    expected = await embed(plain, "passage: cat", "query: cat")
    async with open_embedder(EmbeddingConfig(threads=1), model=str(prompted)) as embedder:
        assert (await embedder.embed_documents(["cat"]))[0] == pytest.approx(expected[0])
        assert await embedder.embed_query("cat") == pytest.approx(expected[1])
        assert embedder.count_tokens(["cat"]) == [5]
