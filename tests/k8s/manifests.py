"""The manifests as `kubectl apply -f` and `kubectl apply -k` would send them."""

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
OVERLAYS = ("small", "production", "gpu")
WORKLOADS = ("Deployment", "StatefulSet", "Job", "CronJob")

Document = dict[str, Any]


def load(*names: str) -> list[Document]:
    """Documents of files in k8s/."""
    return [each for name in names for each in read(K8S / name)]


def read(path: Path) -> list[Document]:
    """The documents of one file; the caller's own copy."""
    return copy.deepcopy(_parsed(path))


@cache
def _parsed(path: Path) -> list[Document]:
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


def example_secrets() -> list[Document]:
    return [each for each in load("secrets.yaml.example") if each["kind"] == "Secret"]


def kustomize(directory: Path) -> list[Document]:
    """`kubectl kustomize`, for as much of it as the overlays use; any other key is an error.

    tests/k8s/test_kustomize.py compares it with what kubectl made of the same files.
    """
    plan = yaml.safe_load((directory / "kustomization.yaml").read_text(encoding="utf-8"))
    if unknown := set(plan) - {"apiVersion", "kind", "resources", "images", "patches"}:
        raise NotImplementedError(f"{directory}: {', '.join(sorted(unknown))}")
    documents: list[Document] = []
    for resource in plan["resources"]:
        path = (directory / resource).resolve()
        if not path.is_dir() and directory.resolve() not in path.parents:
            raise ValueError(f"{path} is not below {directory}: kustomize refuses it")
        if path.is_dir() and path in directory.resolve().parents:
            raise ValueError(f"{path} contains {directory}: kustomize calls that a cycle")
        documents += kustomize(path) if path.is_dir() else read(path)
    for patch in plan.get("patches", []):
        documents = _patched(documents, patch)
    for image in plan.get("images", []):
        for container in [each for document in documents for each in containers(document)]:
            name, _, _ = container["image"].partition(":")
            if name == image["name"]:
                container["image"] = f"{image.get('newName', name)}:{image['newTag']}"
    return documents


def pod_template(document: Document) -> Document | None:
    """The pod's metadata and spec of a workload."""
    match document["kind"]:
        case "Deployment" | "StatefulSet" | "Job":
            return document["spec"]["template"]
        case "CronJob":
            return document["spec"]["jobTemplate"]["spec"]["template"]
        case _:
            return None


def containers(document: Document) -> Iterator[Document]:
    if (template := pod_template(document)) is not None:
        yield from template["spec"].get("initContainers", [])
        yield from template["spec"]["containers"]


def of_kind(documents: list[Document], *kinds: str) -> list[Document]:
    return [each for each in documents if each["kind"] in kinds]


def named(documents: list[Document], kind: str, name: str) -> Document:
    found = [each for each in of_kind(documents, kind) if each["metadata"]["name"] == name]
    if len(found) != 1:
        raise LookupError(f"{len(found)} x {kind}/{name}")
    return found[0]


def quantity(text: str | float) -> float:
    """`500m`, `4Gi` as a number."""
    units = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    text = str(text)
    suffix = next((unit for unit in ("Ki", "Mi", "Gi", "Ti", "m", "k", "M", "G") if text.endswith(unit)), "")
    return float(text.removesuffix(suffix)) * units.get(suffix, 1)


def _patched(documents: list[Document], patch: Document) -> list[Document]:
    body = yaml.safe_load(patch["patch"])
    target = patch["target"]
    if unknown := set(target) - {"group", "version", "kind", "name", "labelSelector"}:
        raise NotImplementedError(f"target: {', '.join(sorted(unknown))}")
    matching = [each for each in documents if _matches(each, target)]
    if not matching:
        raise LookupError(f"a patch has no target: {target}")
    if isinstance(body, dict):
        if body.get("$patch") != "delete":
            raise NotImplementedError("strategic merge patches other than $patch: delete")
        return [each for each in documents if each not in matching]
    for document in matching:
        for operation in copy.deepcopy(body):
            _apply(document, operation)
    return documents


def _matches(document: Document, target: Document) -> bool:
    group, _, version = document["apiVersion"].rpartition("/")
    found = {"group": group, "version": version, "kind": document["kind"], "name": document["metadata"]["name"]}
    if any(target[key] != value for key, value in found.items() if key in target):
        return False
    label, _, value = target.get("labelSelector", "").partition("=")
    return not label or document["metadata"].get("labels", {}).get(label) == value


def _apply(document: Document, operation: Document) -> None:
    """One operation of RFC 6902."""
    *path, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    place: Any = document
    for part in path:
        place = place[int(part)] if isinstance(place, list) else place[part]
    key: Any = int(last) if isinstance(place, list) and last != "-" else last
    match operation["op"]:
        case "add" if isinstance(place, list):
            place.insert(len(place) if key == "-" else key, operation["value"])
        case "add":
            place[key] = operation["value"]
        case "replace":
            place[key]  # what is replaced must be there
            place[key] = operation["value"]
        case "remove":
            del place[key]
        case other:
            raise NotImplementedError(other)
