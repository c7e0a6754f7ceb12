"""Against the schemas of Kubernetes' own versions, and checkov's rules. Programs of an environment of their own, which
`make test-deploy` makes."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.deploy.tools import tool
from tests.k8s.crds import CUSTOM
from tests.k8s.manifests import K8S, OVERLAYS, Document, kustomize, load, named, of_kind

pytestmark = pytest.mark.deploy

VERSIONS = ("1.29", "1.31", "1.34", "1.37")
"""1.29: the first that has every field used."""


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LOG_LEVEL": "ERROR"}
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, env=environment)


def written(directory: Path, documents: list[Document]) -> str:
    path = directory / "documents.yaml"
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False), encoding="utf-8")
    return str(path)


def everything() -> dict[str, list[Document]]:
    files = {
        name: load(name)
        for name in (
            "deployment.yaml",
            "redis.yaml",
            "postgres.yaml",
            "vllm.yaml",
            "monitoring.yaml",
            "secrets.yaml.example",
        )
    }
    return files | {name: kustomize(K8S / "overlays" / name) for name in OVERLAYS}


def validate(documents: list[Document], version: str, directory: Path) -> list[str]:
    """What is wrong; a warning (no schema: an unknown apiVersion, say) is."""
    known = [each for each in documents if each["kind"] not in CUSTOM]
    file = written(directory, known)
    program = tool("kubernetes-validate", "pip install kubernetes-validate")
    done = run([program, "--strict", "--kubernetes-version", version, file])
    passed = [line for line in done.stdout.splitlines() if line.startswith("INFO") and f"version {version}" in line]
    found = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("INFO")]
    if len(passed) != len(known) and not found:
        found.append(f"{len(passed)} of {len(known)} documents were validated against {version}")
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_every_document_has_the_schema_of_this_version(version: str, tmp_path: Path) -> None:
    different = {json.dumps(each): each for found in everything().values() for each in found}

    assert validate(list(different.values()), version, tmp_path) == []


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        pytest.param("Deployment", "ragents", "spec", {"replica": 3}, id="a field that is not there"),
        pytest.param("Deployment", "ragents", "spec", {"minReadySeconds": "ten"}, id="a value of the wrong type"),
        pytest.param(
            "HorizontalPodAutoscaler",
            "ragents-hpa",
            "",
            {"apiVersion": "autoscaling/v2beta2"},
            id="a version that is gone",
        ),
        pytest.param(
            "PodDisruptionBudget", "ragents-pdb", "", {"kind": "PodDisruptionBudgets"}, id="a kind that is not there"
        ),
    ],
)
def test_a_broken_copy_is_refused(kind: str, name: str, path: str, value: Document, tmp_path: Path) -> None:
    document = named(load("deployment.yaml"), kind, name)
    (document[path] if path else document).update(value)

    found = validate([document], "1.33", tmp_path)

    sys.stdout.write(f"{found}\n")
    assert found


def checkov(documents: list[Document], directory: Path) -> dict[str, set[str]]:
    """By resource: the checks that failed."""
    file = written(directory, documents)
    command = [
        tool("checkov", "pip install checkov"),
        "--file",
        file,
        "--framework",
        "kubernetes",
        "--output",
        "json",
        "--quiet",
    ]
    done = run([*command, "--compact", "--skip-download"])
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 100
    grouped: dict[str, set[str]] = {}
    for each in report["results"]["failed_checks"]:
        grouped.setdefault(each["resource"], set()).add(each["check_id"])
    return grouped


@pytest.mark.parametrize("overlay", [*OVERLAYS, "base"])
def test_checkov_finds_nothing_but_what_is_justified_in_place(overlay: str, tmp_path: Path) -> None:
    directory = K8S / "base" if overlay == "base" else K8S / "overlays" / overlay

    assert checkov(kustomize(directory), tmp_path) == {}


def test_every_skip_is_needed_and_says_why(tmp_path: Path) -> None:
    documents = kustomize(K8S / "base")
    for document in documents:
        annotations = document["metadata"].get("annotations", {})
        for key in [each for each in annotations if each.startswith("checkov.io/skip")]:
            check, _, reason = annotations.pop(key).partition("=")
            annotations.setdefault("without", "")
            annotations["without"] += f" {check}"
            assert len(reason) > 20

    failed = checkov(copy.deepcopy(documents), tmp_path)

    for document in documents:
        resource = f"{document['kind']}.production.{document['metadata']['name']}"
        skipped = set(document["metadata"].get("annotations", {}).get("without", "").split())
        assert failed.get(resource, set()) == skipped, resource


def test_checkov_finds_a_privileged_container(tmp_path: Path) -> None:
    documents = kustomize(K8S / "base")
    container = of_kind(documents, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    container["securityContext"]["privileged"] = True

    failed = checkov(documents, tmp_path)

    assert any("CKV_K8S_16" in found for found in failed.values())
