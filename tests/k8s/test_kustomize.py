"""tests/k8s/manifests.py does to the overlays what kustomize does.

tests/data/kustomize/expected.yaml is what `kubectl kustomize` (kustomize 5.5.0) made of the files beside it.
"""

from pathlib import Path

import pytest
import yaml

from tests.k8s.manifests import K8S, OVERLAYS, ROOT, Document, kustomize

RECORDED = ROOT / "tests" / "data" / "kustomize"


def by_name(documents: list[Document]) -> list[Document]:
    return sorted(documents, key=lambda each: (each["kind"], each["metadata"]["name"]))


def written(directory: Path, **plan: object) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(plan))
    return directory


def test_it_makes_of_an_overlay_what_kubectl_made_of_it() -> None:
    expected = list(yaml.safe_load_all((RECORDED / "expected.yaml").read_text()))

    assert by_name(kustomize(RECORDED / "overlay")) == by_name(expected)


def test_a_file_above_the_overlay_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("{}")

    with pytest.raises(ValueError, match="kustomize refuses"):
        kustomize(written(tmp_path / "overlay", resources=["../a.yaml"]))


def test_a_base_that_contains_the_overlay_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cycle"):
        kustomize(written(tmp_path / "base" / "overlay", resources=[".."]))


def test_what_it_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match="namePrefix"):
        kustomize(written(tmp_path, resources=[], namePrefix="x-"))


def test_a_patch_without_a_target_is_refused(tmp_path: Path) -> None:
    patch = {"target": {"kind": "Deployment"}, "patch": "[]"}

    with pytest.raises(LookupError, match="no target"):
        kustomize(written(tmp_path, resources=[], patches=[patch]))


def test_each_overlay_is_part_of_the_base_and_has_no_vllm_unless_it_is_gpu() -> None:
    base = {(each["kind"], each["metadata"]["name"]) for each in kustomize(K8S / "base")}

    for name in OVERLAYS:
        found = {(each["kind"], each["metadata"]["name"]) for each in kustomize(K8S / "overlays" / name)}
        assert found <= base
        assert (("Deployment", "vllm") in found) == (name == "gpu")
        assert (("PodMonitor", "ragents") in found) == (name != "small")


def test_the_files_that_are_applied_alone_are_the_bases() -> None:
    for name in yaml.safe_load((K8S / "base" / "kustomization.yaml").read_text())["resources"]:
        assert (K8S / name).resolve() == (K8S / "base" / name).resolve()
