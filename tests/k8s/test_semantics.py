"""What a schema cannot see, of everything that one can apply; and each check finds its fault in a broken copy."""

import sys
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from ragents.config import load_settings
from ragents.deployment.config import ServiceConfig
from ragents.errors import ConfigError
from ragents.planning import sizing
from tests.k8s.broken import BROKEN, hpa, main, pod
from tests.k8s.checks import CHECKS, problems
from tests.k8s.checks.service import settings_of
from tests.k8s.manifests import (
    K8S,
    OVERLAYS,
    ROOT,
    Document,
    containers,
    example_secrets,
    kustomize,
    load,
    named,
    quantity,
)

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


def test_the_planner_reckons_with_the_pods_that_are_deployed() -> None:
    production = kustomize(K8S / "overlays" / "production")
    requests = main(production)["resources"]["requests"]
    update = named(production, "Deployment", "ragents")["spec"]["strategy"]["rollingUpdate"]

    assert hpa(production)["maxReplicas"] == sizing.MOST_PODS
    assert hpa(production)["minReplicas"] == sizing.REPLICAS["cluster"]
    assert update["maxSurge"] == sizing.SURGE
    assert settings_of(production).serving.workers == sizing.WORKERS["cluster"]
    assert quantity(requests["cpu"]) == sizing.POD_CORES
    assert quantity(requests["memory"]) / 1e9 == pytest.approx(sizing.POD_GB, abs=0.01)


def test_the_passwords_of_the_example_agree_with_each_other() -> None:
    secrets = {each["metadata"]["name"]: each["stringData"] for each in example_secrets()}
    serving, postgres = secrets["ragents-secrets"], secrets["postgres-secrets"]

    def password(address: str) -> str | None:
        return urlsplit(address).password

    assert password(secrets["ragents-owner"]["RAGENTS_STORE__MIGRATE_DSN"]) == postgres["owner-password"]
    assert password(serving["RAGENTS_CACHE__REDIS_URL"]) == secrets["redis-secrets"]["cache-password"]
    for name in ("RAGENTS_RATE_LIMIT__REDIS_URL", "RAGENTS_CHECKPOINT__REDIS_URL"):
        assert password(serving[name]) == secrets["redis-secrets"]["state-password"]
    assert serving["RAGENTS_LLM__API_KEY"] == secrets["vllm-secrets"]["api-key"]
    users = [
        urlsplit(address).username for address in (serving["RAGENTS_STORE__DSN"], *secrets["ragents-owner"].values())
    ]
    assert users == ["ragents_app", "ragents_owner"]


def test_every_secret_of_the_example_must_be_changed_and_is_used() -> None:
    used = {
        (reference["name"], reference["key"])
        for document in kustomize(K8S / "base")
        for container in containers(document)
        for variable in container.get("env", [])
        if (reference := variable.get("valueFrom", {}).get("secretKeyRef"))
    }

    for secret in example_secrets():
        for key, value in secret["stringData"].items():
            assert "CHANGE-ME" in value or key == "hf-token", key
            assert (secret["metadata"]["name"], key) in used, key


def test_the_examples_bootstrap_key_is_refused_as_it_stands() -> None:
    """Everybody knows it, and it would be an admin's."""
    key = next(each for each in example_secrets())["stringData"]["RAGENTS_AUTH__BOOTSTRAP_KEY"]

    with pytest.raises(ConfigError, match="bootstrap_key"):
        load_settings(ServiceConfig, path=ROOT / "configuration.yaml", environ={"RAGENTS_AUTH__BOOTSTRAP_KEY": key})
