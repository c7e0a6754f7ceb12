"""Where a model is looked for."""

from pathlib import Path

import pytest

from ragents.embeddings.weights import find_checked_model, find_model
from ragents.errors import ConfigError
from tests.unit.embeddings.models import make_folder

MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def test_a_model_that_is_not_there_says_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGENTS_MODEL_DIR", "/nowhere")
    with pytest.raises(ConfigError, match=r"'no/such'.*/nowhere/no/such, /nowhere/such, /nowhere.*RAGENTS_MODEL_DIR"):
        find_model("no/such")


def test_a_folder_without_its_tokenizer_is_no_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (make_folder(tmp_path / "mine") / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match="no such model"):
        find_model(str(tmp_path / "mine"))


@pytest.mark.parametrize("place", ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2", "."])
def test_the_variables_directory_comes_before_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    """A directory of models by either name, or the model itself."""
    folder = make_folder(tmp_path / "root" / place)
    monkeypatch.setenv("RAGENTS_MODEL_DIR", str(tmp_path / "root"))
    assert find_model(MODEL) == folder


def test_without_the_variable_the_installed_package_is_found() -> None:
    assert (find_model(MODEL) / "model.safetensors").is_file()


def test_a_path_is_a_model_too(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "mine")
    assert find_model(str(folder)) == folder


def test_a_folder_whose_weights_are_not_the_published_ones_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / MODEL)
    (folder / "model.safetensors").write_bytes(b"other")
    monkeypatch.setenv("RAGENTS_MODEL_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match="damaged or not the published file"):
        find_checked_model(MODEL)


def test_a_model_that_only_the_hub_has_is_none() -> None:
    assert find_checked_model("no/such") is None
