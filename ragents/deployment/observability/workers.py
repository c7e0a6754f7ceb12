"""What the workers of a server know together: each writes its metrics to files of one directory, and reads the others'.

The files are prometheus_client's (its multiprocess mode, which `bentoml serve` switches on).
"""

import os
from collections.abc import Collection
from pathlib import Path

import psutil
from prometheus_client import multiprocess

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
LIVE = "gauge_live*_*.db"


def counted_by_all(name: str, label: str) -> dict[str, float]:
    """Of the counter `name`, over all workers since the server began: value of `label` -> count."""
    found: dict[str, float] = {}
    files = [str(file) for file in _folder().glob("counter_*.db")]
    for metric in multiprocess.MultiProcessCollector.merge(files, accumulate=True):  # type: ignore[no-untyped-call]
        for sample in metric.samples:
            if sample.name == name:
                value = sample.labels[label]
                found[value] = found.get(value, 0.0) + sample.value
    return found


def bury_the_dead() -> Collection[int]:
    """Forget the gauges of workers that were killed: nobody else takes their questions in flight out of the sum."""
    pids = {int(file.stem.rpartition("_")[2]) for file in _folder().glob(LIVE)}
    dead = [pid for pid in pids if not psutil.pid_exists(pid)]
    for pid in dead:
        multiprocess.mark_process_dead(pid, str(_folder()))  # type: ignore[no-untyped-call]
    return dead


def _folder() -> Path:
    return Path(os.environ[VARIABLE])


def several() -> bool:
    """Whether metrics are kept in files at all."""
    return VARIABLE in os.environ
