"""The dashboards are what their source says, and what Grafana reads."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.build import FOLDER, files

DASHBOARDS = sorted((FOLDER / "dashboards").glob("*.json"))


def boards() -> Iterator[dict[str, Any]]:
    for file in DASHBOARDS:
        yield json.loads(file.read_text())


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for board in boards():
        for panel in board["panels"]:
            yield board["uid"], panel


def test_the_files_are_those_of_the_source() -> None:
    """If not: python -m deploy.grafana.build"""
    wanted = files()
    assert sorted(wanted) == DASHBOARDS
    for path, text in wanted.items():
        assert path.read_text() == text, path.name


def test_there_is_one_for_each_subject() -> None:
    assert {board["uid"] for board in boards()} == {
        f"ragents-{name}" for name in ("answers", "cache", "cost", "limits", "service", "stores")
    }


def test_every_panel_says_what_it_shows_in_which_unit() -> None:
    for board, panel in panels():
        name = f"{board}: {panel['title']}"
        assert panel["description"].endswith("."), name
        assert panel["fieldConfig"]["defaults"]["unit"], name
        assert panel["targets"], name
        assert all(target["legendFormat"] for target in panel["targets"]), name
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert steps[0]["value"] is None, name
        assert [step["value"] for step in steps[1:]] == sorted(step["value"] for step in steps[1:]), name


def test_every_query_goes_to_the_chosen_datasource_and_no_panels_overlap() -> None:
    for board in boards():
        assert [each["type"] for each in board["templating"]["list"]] == ["datasource"]
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            assert panel["datasource"]["uid"] == "${datasource}"
            assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not cells & taken
            assert at["x"] + at["w"] <= 24
            taken |= cells
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_what_is_recorded_is_what_the_rules_record() -> None:
    rules = yaml.safe_load((FOLDER.parent / "prometheus" / "rules.yml").read_text())
    recorded = {rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}
    asked = {
        name
        for _, panel in panels()
        for target in panel["targets"]
        for name in re.findall(r"\brag:[a-z0-9_:]+", target["expr"])
    }
    assert asked
    assert asked <= recorded


def test_grafana_s_own_types_read_every_field_and_lose_none() -> None:
    """grafana-foundation-sdk: Grafana's schema as Python types. It passes over what it does not know."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    for board in boards():
        read = json.loads(JSONEncoder().encode(Dashboard.from_json(board)))
        assert lost(board, read) == []
    broken = next(boards()) | {"shemaVersion": 39}
    assert lost(broken, json.loads(JSONEncoder().encode(Dashboard.from_json(broken)))) == ["/shemaVersion"]


def lost(given: Any, read: Any, path: str = "") -> list[str]:
    if isinstance(given, dict):
        missing = [f"{path}/{key}" for key in given if key not in read]
        return missing + [each for key in given if key in read for each in lost(given[key], read[key], f"{path}/{key}")]
    if isinstance(given, list):
        assert len(given) == len(read), path
        return [each for n, (a, b) in enumerate(zip(given, read, strict=True)) for each in lost(a, b, f"{path}[{n}]")]
    return [] if given == read else [path]


@pytest.mark.parametrize("file", sorted((FOLDER / "provisioning").rglob("*.yml")), ids=lambda file: file.stem)
def test_grafana_is_told_where_prometheus_and_the_dashboards_are(file: Path) -> None:
    told = yaml.safe_load(file.read_text())
    assert told["apiVersion"] == 1
    if file.parent.name == "datasources":
        (source,) = told["datasources"]
        assert (source["uid"], source["url"]) == ("prometheus", "http://prometheus:9090")
    else:
        (provider,) = told["providers"]
        assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
