"""The alerts on Kubernetes are those of deploy/prometheus/rules.yml."""

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.deploy.tools import tool
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


def adapter_query(name: str) -> str:
    """As the adapter asks for the pods of the namespace."""
    rules = yaml.safe_load(
        named(load("monitoring.yaml"), "ConfigMap", "prometheus-adapter-rules")["data"]["config.yaml"]
    )
    query: str = next(rule for rule in rules["rules"] if rule["name"]["as"] == name)["metricsQuery"]
    matchers = 'namespace="production",pod=~"a|b|c"'
    return query.replace("<<.GroupBy>>", "pod").replace("<<.LabelMatchers>>", matchers)


def series(name: str, pod: str, values: str, **labels: str) -> dict[str, str]:
    pairs = {"namespace": "production", "pod": pod, **labels}
    return {"series": name + "{" + ",".join(f'{key}="{value}"' for key, value in pairs.items()) + "}", "values": values}


@pytest.mark.deploy
def test_prometheus_answers_the_adapters_questions(tmp_path: Path) -> None:
    """Pod a answers and lets wait, b has never had a queue, c is idle; d is no pod of ours."""
    given = [
        series("rag_in_flight", "a", "50x10"),
        series("rag_queue_depth", "a", "30x10", priority="HIGH"),
        series("rag_queue_depth", "a", "7x10", priority="NORMAL"),
        series("rag_in_flight", "b", "12x10"),
        series("rag_in_flight", "c", "0x10"),
        series("rag_in_flight", "a", "99x10", namespace="other"),
        series("bentoml_service_request_total", "a", "0+150x10", endpoint="/query"),
        series("bentoml_service_request_total", "a", "0+30x10", endpoint="/health"),
        series("vllm:num_requests_waiting", "b", "11x10", model_name="m"),
    ]
    expected = {
        "rag_in_flight_and_queued": {"a": 87, "b": 12, "c": 0},
        "http_requests_per_second": {"a": 12},
        "vllm_requests_waiting": {"b": 11},
    }
    asked = [
        {
            "expr": adapter_query(name),
            "eval_time": "2m",
            "exp_samples": [{"labels": f'{{pod="{pod}"}}', "value": value} for pod, value in values.items()],
        }
        for name, values in expected.items()
    ]
    case = {"tests": [{"interval": "15s", "input_series": given, "promql_expr_test": asked}]}
    (tmp_path / "case.yml").write_text(yaml.safe_dump(case))

    done = subprocess.run(
        [tool("promtool", "apt install prometheus"), "test", "rules", "case.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
