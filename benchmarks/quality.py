"""Retrieval quality: `ragents eval` on SciFact (test) and Cranfield, through the embedded store with its own indexes.

BENCH_DATA names the folder that holds scifact and cranfield in BEIR's layout; default ../shared/data. The first run
embeds 6,600 documents (some minutes).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

SETS = ("scifact", "cranfield")
TIMEOUT_S = 3600


def run() -> list[dict[str, object]]:
    data = Path(os.environ.get("BENCH_DATA", "../shared/data")).resolve()
    rows: list[dict[str, object]] = []
    for name in SETS:
        if not (data / name).is_dir():
            print(f"{data / name} is not there; set BENCH_DATA to the folder that holds it", file=sys.stderr)
            continue
        command = [str(Path(sys.executable).with_name("ragents")), "eval", str(data / name), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        for mode, scores in json.loads(done.stdout)["modes"].items():
            row: dict[str, object] = {"set": name, "mode": mode, **scores}
            print(row, flush=True)
            rows.append(row)
    return rows
