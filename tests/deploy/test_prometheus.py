"""The rules as promtool sees them, and what promtool does not look at: names, runbooks, and that each is tested."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.observing import PROMETHEUS, tool
from tests.e2e.conftest import ROOT

TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
FOREIGN = re.compile(r"^(kube_|kubelet_|bentoml_|up$|ALERTS)")
METRIC = re.compile(r"\b(?:rag_[a-z0-9_]+|rag:[a-z0-9_:]+|kube_[a-z_]+|kubelet_[a-z_]+|up)\b(?!\()")


def rules() -> list[dict[str, Any]]:
    loaded = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())
    return [rule for group in loaded["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def metrics_of(expression: str) -> set[str]:
    """The scraped metrics that an expression needs, through what is recorded."""
    found = set(METRIC.findall(re.sub(r"\{[^}]*\}|\b(?:by|on|ignoring|without)\s*\([^)]*\)", "", expression)))
    return {name for each in found for name in (metrics_of(RECORDED[each]) if each in RECORDED else {each})}


def cases() -> Iterator[tuple[set[str], bool, set[str]]]:
    """Of each test: metrics of its input, whether no look sees an alert, and the alerts that looks see firing."""
    for file in TESTS:
        for test in yaml.safe_load(file.read_text())["tests"]:
            given = {series["series"].partition("{")[0] for series in test["input_series"]}
            looks = test["promql_expr_test"]
            assert all("ALERTS" in look["expr"] or look["expr"].startswith("rag:") for look in looks)
            names = {name for look in looks for each in look["exp_samples"] for name in _firing(look["expr"], each)}
            silent = not names and all("ALERTS" in look["expr"] for look in looks)
            yield given, silent, names


def _firing(expression: str, sample: dict[str, Any]) -> list[str]:
    if 'alertstate="firing"' not in expression:
        return []
    return re.findall(r'alertname="([^"]+)"', sample["labels"])


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    headings = {line.lstrip("# ").lower() for line in (ROOT / "docs" / "monitoring.md").read_text().splitlines()}
    assert len(ALERTS) >= 20
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("warning", "critical"), name
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}, name
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert page == "docs/monitoring.md", name
        assert anchor in headings, f"{name}: docs/monitoring.md has no heading {anchor}"


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_shown_firing_and_silent(name: str) -> None:
    needed = metrics_of(ALERTS[name]["expr"])
    assert needed
    assert any(name in firing for _, _, firing in cases()), "no test in which it fires"
    assert any(silent and needed & given for given, silent, _ in cases()), "no test in which it could fire and does not"


def test_every_metric_of_the_rules_is_one_that_the_service_has() -> None:
    source = "\n".join(file.read_text() for file in (ROOT / "ragents").rglob("*.py"))
    for expression in [rule["expr"] for rule in rules()]:
        for name in metrics_of(expression):
            plain = re.sub(r"_(bucket|sum|count)$", "", name)
            if not FOREIGN.match(name):
                assert f'"{plain}"' in source or f'"{name}"' in source, name


def test_every_service_of_compose_with_metrics_has_a_job() -> None:
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    found = {job["job_name"]: job["dns_sd_configs"][0] for job in jobs if "dns_sd_configs" in job}
    command = services["ingest"]["command"]
    assert found.keys() == {"ragents", "ragents-ingest"}
    assert found["ragents-ingest"]["names"] == ["ingest"]
    assert found["ragents-ingest"]["port"] == int(command[command.index("--metrics-port") + 1])
    assert set(services["ingest"]["networks"]) & set(services["prometheus"]["networks"])


@pytest.mark.deploy
def test_promtool_takes_the_rules_and_the_configuration() -> None:
    check("promtool", "check", "rules", str(PROMETHEUS / "rules.yml"))
    check("promtool", "check", "config", str(PROMETHEUS / "prometheus.yml"))


@pytest.mark.deploy
def test_amtool_takes_alertmanager_s_configuration() -> None:
    said = check("amtool", "check-config", str(PROMETHEUS / "alertmanager.yml"), package="prometheus-alertmanager")
    assert "5 inhibit rules" in said


@pytest.mark.deploy
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_promtool_passes_the_tests_of_the_rules(file: Path) -> None:
    assert "SUCCESS" in check("promtool", "test", "rules", str(file))


@pytest.mark.deploy
def test_promtool_notices_an_alert_that_has_changed(tmp_path: Path) -> None:
    """The tests of the rules can fail."""
    text = (PROMETHEUS / "rules.yml").read_text()
    (tmp_path / "rules.yml").write_text(text.replace("ratio_rate5m > 0.05 and", "ratio_rate5m > 0.5 and"))
    (tmp_path / "tests").mkdir()
    copy = tmp_path / "tests" / "questions.yml"
    copy.write_text((PROMETHEUS / "tests" / "questions.yml").read_text())
    said = subprocess.run(
        [tool("promtool", package="prometheus"), "test", "rules", str(copy)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert said.returncode != 0
    assert "RAGentsErrorRate" in said.stdout + said.stderr


def check(name: str, *arguments: str, package: str = "prometheus") -> str:
    said = subprocess.run(
        [tool(name, package=package), *arguments], check=False, capture_output=True, text=True, timeout=100
    )
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout
