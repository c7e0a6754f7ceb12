"""What is built from the source distribution is what is built from a clone."""

from pathlib import Path

import pytest
import yaml
from hatchling.builders.sdist import SdistBuilder

ROOT = Path(__file__).parents[1]
BENTO = yaml.safe_load((ROOT / "bentofile.yaml").read_text("utf-8"))


@pytest.fixture(scope="module")
def packed() -> set[str]:
    return {each.distribution_path for each in SdistBuilder(str(ROOT)).recurse_included_files()}


def test_what_bentoml_build_reads_is_in_it(packed: set[str]) -> None:
    named = [BENTO["python"]["requirements_txt"], BENTO["docker"]["dockerfile_template"], "bentofile.yaml"]
    folders = [each.strip("/") for each in BENTO["include"] if each != "/models/"]  # which `make setup` fills
    assert [each for each in named if each not in packed] == []
    assert [each for each in folders if not any(name.startswith(each) for name in packed)] == []


def test_what_make_reads_is_in_it(packed: set[str]) -> None:
    needed = {"Makefile", "requirements/dev.txt", "requirements/weights.txt", "tests/conftest.py"}
    assert needed - packed == set()
    assert any(name.startswith("benchmarks/mock_llm/") for name in packed), "the tests import it"
    assert any(name.startswith("k8s/base/") for name in packed)


def test_secrets_beside_their_examples_are_neither_in_it_nor_in_git(packed: set[str]) -> None:
    examples = {each for each in packed if each.endswith(".example")}
    assert examples == {"deploy/.env.example", "k8s/secrets.yaml.example"}
    for each in examples:
        assert not SdistBuilder(str(ROOT)).config.include_path(each.removesuffix(".example"))
