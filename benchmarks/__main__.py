"""python -m benchmarks [SUITE ...]: run suites, print their tables, write benchmarks/results/SUITE.json."""

import importlib
import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

SUITES = (
    "start",
    "checkpoints",
    "vectors",
    "hybrid",
    "quality",
    "chunking",
    "ingest",
    "encoder",
    "batching",
    "query",
    "limits",
    "fairness",
    "cache",
    "semantic",
    "replicas",
    "scale",
    "tracing",
)
RESULTS = Path(__file__).parent / "results"


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        print(f"no suite {unknown[0]!r}; there are: {', '.join(SUITES)}", file=sys.stderr)
        return 2
    for name in names or SUITES:
        measured = importlib.import_module(f"benchmarks.{name}").run()
        RESULTS.mkdir(exist_ok=True)
        about = {
            "suite": name,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "bentoml": version("bentoml"),
            "langgraph": version("langgraph"),
        }
        (RESULTS / f"{name}.json").write_text(json.dumps({**about, "rows": measured}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
