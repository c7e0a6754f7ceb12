"""Write the dashboards: python -m deploy.grafana.build

What is on them stands in boards/; this file makes Grafana's JSON of it. A test checks that the files are current.
"""

import json
from pathlib import Path
from typing import Any

from deploy.grafana.boards import DASHBOARDS
from deploy.grafana.parts import Dashboard, Panel

FOLDER = Path(__file__).parent
WIDTH, HEIGHT, PER_ROW = 8, 8, 3
SCHEMA_VERSION = 39
"""Of Grafana 10.4; later ones bring it up to date by themselves."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard(board: Dashboard) -> dict[str, Any]:
    return {
        "uid": f"ragents-{board.name}",
        "title": f"RAGents: {board.title}",
        "description": board.description,
        "tags": ["ragents"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "annotations": {"list": [alerts()]},
        "links": [link()],
        "templating": {"list": [datasource()]},
        "panels": [panel(number, each) for number, each in enumerate(board.panels)],
    }


def datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {"text": "Prometheus", "value": "prometheus"},
        "hide": 0,
    }


def link() -> dict[str, Any]:
    """To the other dashboards, with the time and the datasource that are looked at."""
    kept = {"includeVars": True, "keepTime": True, "targetBlank": False, "asDropdown": True}
    return {"type": "dashboards", "title": "RAGents", "tags": ["ragents"], "icon": "", "tooltip": "", "url": "", **kept}


def alerts() -> dict[str, Any]:
    """Alerts that fire are marked on every panel."""
    return {
        "name": "Alerts",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"RAGents.*", alertstate="firing"}',
    }


def panel(number: int, told: Panel) -> dict[str, Any]:
    row, column = divmod(number, PER_ROW)
    steps = [{"color": "green", "value": None}, *({"color": color, "value": at} for at, color in told.thresholds)]
    defaults: dict[str, Any] = {
        "unit": told.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": "thresholds" if told.kind != "timeseries" else "palette-classic"},
    }
    if told.least is not None:
        defaults["min"] = told.least
    if told.most is not None:
        defaults["max"] = told.most
    if told.kind == "timeseries":
        style = "line" if told.thresholds else "off"
        defaults["custom"] = {"fillOpacity": 10, "showPoints": "never", "thresholdsStyle": {"mode": style}}
        options: dict[str, Any] = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    else:
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    return {
        "id": number + 1,
        "type": told.kind,
        "title": told.title,
        "description": told.description,
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + n),
                "datasource": SOURCE,
                "expr": query,
                "legendFormat": legend,
                "instant": told.kind != "timeseries",
                "range": told.kind == "timeseries",
            }
            for n, (query, legend) in enumerate(told.queries)
        ],
    }


def files() -> dict[Path, str]:
    """Every dashboard's file, and what is to be in it."""
    return {
        FOLDER / "dashboards" / f"{each.name}.json": json.dumps(dashboard(each), indent=1, ensure_ascii=False) + "\n"
        for each in DASHBOARDS
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
