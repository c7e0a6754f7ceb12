"""The alerts on Kubernetes are those of deploy/prometheus/rules.yml."""

import importlib.util
from types import ModuleType

import pytest
import yaml

from tests.k8s.manifests import K8S, load, named


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("monitoring_rules", K8S / "monitoring_rules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_manifest_says_what_the_rules_say(generator: ModuleType) -> None:
    rules = generator.RULES.read_text(encoding="utf-8")

    assert named(load("monitoring.yaml"), "PrometheusRule", "ragents")["spec"] == yaml.safe_load(rules), (
        "run: python k8s/monitoring_rules.py"
    )


def test_other_rules_are_noticed_and_taken_over(generator: ModuleType) -> None:
    other = "groups:\n  - name: other\n    rules:\n      - {record: a, expr: b}\n"
    manifest = generator.MANIFEST.read_text(encoding="utf-8")

    changed = generator.with_rules(manifest, other)

    before, after = list(yaml.safe_load_all(manifest)), list(yaml.safe_load_all(changed))
    assert after[:-1] == before[:-1]
    assert after[-1]["spec"] == yaml.safe_load(other) != before[-1]["spec"]
    assert generator.with_rules(changed, other) == changed


def test_the_alerts_about_the_cluster_name_what_is_in_it() -> None:
    text = str(named(load("monitoring.yaml"), "PrometheusRule", "ragents")["spec"])
    cronjobs = [each["metadata"]["name"] for each in load("postgres.yaml") if each["kind"] == "CronJob"]

    assert 'namespace="production"' in text
    assert [name for name in cronjobs if "backup" in name] == ["postgres-backup"]  # cronjob=~".*backup.*"
    assert {each["spec"]["jobLabel"] for each in load("monitoring.yaml") if each["kind"] == "PodMonitor"} == {"app"}
