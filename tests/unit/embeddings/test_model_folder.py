"""What a model folder says, and what the onnx backend cannot repeat."""

from pathlib import Path

import pytest

from ragents.embeddings.model_folder import read_model_folder
from ragents.errors import ConfigError
from tests.unit.embeddings.models import write_json


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"pooling_mode_max_tokens": True}, "pooling_mode_max_tokens"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, "mean\\+pooling_mode_max_tokens"),
        ({"pooling_mode": "lasttoken"}, "lasttoken"),
        ({"pooling_mode": ["mean", "cls"]}, "mean\\+cls"),
    ],
)
def test_other_poolings_are_refused_by_name(tmp_path: Path, config: dict[str, object], named: str) -> None:
    write_json(tmp_path / "1_Pooling" / "config.json", config)
    with pytest.raises(ConfigError, match=f"not '{named}'.*sentence_transformers"):
        read_model_folder(tmp_path)


def test_a_layer_after_pooling_is_refused_by_name(tmp_path: Path) -> None:
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}]
    write_json(tmp_path / "modules.json", [*modules, {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}])
    with pytest.raises(ConfigError, match="Dense layer"):
        read_model_folder(tmp_path)


def test_a_damaged_json_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "sentence_bert_config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"sentence_bert_config\.json cannot be read"):
        read_model_folder(tmp_path)


def test_the_pooling_folder_is_the_one_that_the_modules_name(tmp_path: Path) -> None:
    write_json(tmp_path / "modules.json", [{"path": "pool", "type": "sentence_transformers.models.Pooling"}])
    write_json(tmp_path / "pool" / "config.json", {"pooling_mode": "cls"})
    assert read_model_folder(tmp_path).pooling == "cls"


def test_a_folder_that_says_nothing_is_a_mean_pooled_bert(tmp_path: Path) -> None:
    folder = read_model_folder(tmp_path)
    assert (folder.pooling, folder.max_tokens, folder.prompts) == ("mean", 512, {"query": "", "document": ""})


def test_an_empty_prompt_does_not_hide_a_full_one(tmp_path: Path) -> None:
    prompts = {"query": None, "document": "", "passage": "passage: "}
    write_json(tmp_path / "config_sentence_transformers.json", {"prompts": prompts})
    assert read_model_folder(tmp_path).prompts == {"query": "", "document": "passage: "}


@pytest.mark.parametrize(("length", "expected"), [(128, 128), (10**30, 512)])
def test_the_tokenizers_limit_counts_unless_it_is_none(tmp_path: Path, length: int, expected: int) -> None:
    write_json(tmp_path / "tokenizer_config.json", {"model_max_length": length})
    assert read_model_folder(tmp_path).max_tokens == expected
