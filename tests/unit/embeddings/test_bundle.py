"""The model as plain files, for an image."""

import stat
from pathlib import Path

import pytest

from ragents.embeddings.bundle import bundle
from ragents.embeddings.model_folder import read_model_folder
from ragents.embeddings.weights import find_model
from ragents.errors import ConfigError

MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def test_damaged_weights_at_the_destination_are_refused(tmp_path: Path) -> None:
    (tmp_path / "all-MiniLM-L6-v2").mkdir()
    (tmp_path / "all-MiniLM-L6-v2" / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(ConfigError, match="damaged"):
        bundle(tmp_path)


def test_the_bundle_says_of_itself_what_the_package_says(tmp_path: Path) -> None:
    found, expected = read_model_folder(bundle(tmp_path)), read_model_folder(find_model(MODEL))
    assert (found.pooling, found.max_tokens, found.prompts) == (expected.pooling, expected.max_tokens, expected.prompts)


def test_a_second_run_completes_what_is_missing_and_changes_nothing_else(tmp_path: Path) -> None:
    folder = bundle(tmp_path)
    before = (folder / "model.safetensors").stat()[stat.ST_INO]
    (folder / "1_Pooling" / "config.json").unlink()
    assert bundle(tmp_path) == folder
    assert (folder / "1_Pooling" / "config.json").is_file()
    assert (folder / "model.safetensors").stat()[stat.ST_INO] == before
