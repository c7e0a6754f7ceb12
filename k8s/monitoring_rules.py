"""Writes deploy/prometheus/rules.yml into k8s/monitoring.yaml as a PrometheusRule: `python k8s/monitoring_rules.py`.

tests/k8s/test_monitoring.py fails when the two say different things.
"""

import sys
import textwrap
from pathlib import Path

HERE = Path(__file__).resolve().parent
RULES = HERE.parent / "deploy" / "prometheus" / "rules.yml"
MANIFEST = HERE / "base" / "monitoring.yaml"
MARK = "---\n# Made of deploy/prometheus/rules.yml by k8s/monitoring_rules.py; change it there.\n"
HEAD = """apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: ragents
  namespace: production
  labels: {app: ragents, app.kubernetes.io/part-of: ragents, app.kubernetes.io/component: monitoring}
spec:
"""


def with_rules(manifest: str, rules: str) -> str:
    """`manifest` with its last document made anew; the rules' comments come along."""
    return manifest.partition(MARK)[0].rstrip("\n") + "\n" + MARK + HEAD + textwrap.indent(rules, "  ")


def main() -> None:
    if not RULES.is_file():
        sys.exit(f"error: {RULES} does not exist")
    manifest = MANIFEST.read_text(encoding="utf-8")
    MANIFEST.write_text(with_rules(manifest, RULES.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
