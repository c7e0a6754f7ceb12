"""What a schema cannot see, of everything that one can apply; and each check finds its fault in a broken copy."""

import sys
from collections.abc import Callable

import pytest

from tests.k8s.broken import BROKEN, hpa, main, pod
from tests.k8s.checks import CHECKS, problems
from tests.k8s.checks.service import settings_of
from tests.k8s.manifests import K8S, OVERLAYS, Document, kustomize, load, named

APPLIED: dict[str, Callable[[], list[Document]]] = {
    "kubectl apply -f redis.yaml -f deployment.yaml": lambda: load("redis.yaml", "deployment.yaml"),
    "with postgres.yaml": lambda: load("redis.yaml", "postgres.yaml", "deployment.yaml"),
    "base": lambda: kustomize(K8S / "base"),
    **{name: lambda name=name: kustomize(K8S / "overlays" / name) for name in OVERLAYS},
}


@pytest.mark.parametrize("name", APPLIED)
def test_nothing_is_wrong(name: str) -> None:
    assert problems(APPLIED[name]()) == []


@pytest.mark.parametrize(
    ("check", "fault", "spoil"), [pytest.param(*each, id=f"{each[0]}: {each[1]}") for each in BROKEN]
)
def test_a_broken_copy_is_found(check: str, fault: str, spoil: Callable[[list[Document]], object]) -> None:
    documents = kustomize(K8S / "base")
    spoil(documents)

    found = list(CHECKS[check](documents))

    sys.stdout.write(f"{fault}: {found}\n")
    assert found


def test_every_check_is_shown_to_fail() -> None:
    assert {check for check, _, _ in BROKEN} == set(CHECKS)


def test_the_overlays_differ_in_what_they_promise() -> None:
    small, production, gpu = (kustomize(K8S / "overlays" / name) for name in OVERLAYS)

    assert main(production)["resources"] == {
        "requests": {"cpu": "2", "memory": "4Gi"},
        "limits": {"cpu": "4", "memory": "8Gi"},
    }
    assert (hpa(production)["minReplicas"], hpa(production)["maxReplicas"]) == (3, 20)
    assert named(production, "PodDisruptionBudget", "ragents-pdb")["spec"]["minAvailable"] == 2
    assert settings_of(small).serving.workers == 1
    assert settings_of(gpu).llm.provider == "vllm"
    assert settings_of(gpu).llm.model_name == named(gpu, "ConfigMap", "vllm-config")["data"]["SERVED_MODEL_NAME"]
    assert settings_of(gpu).llm.context_tokens == int(named(gpu, "ConfigMap", "vllm-config")["data"]["MAX_MODEL_LEN"])
    assert settings_of(gpu).llm.cache_salt_key is not None
    for documents in (production, gpu):  # the owner's DSN is the Job's alone
        assert "initContainers" not in pod(documents)["spec"]
        assert named(documents, "Job", "ragents-migrate")
