"""Checkers that are programs of their own, in an environment of theirs (`make test-deploy` makes it)."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.k8s.manifests import ROOT

PLACES = (os.environ.get("DEPLOY_TOOLS", ""), str(ROOT / ".venv-deploy" / "bin"), str(ROOT / ".venv" / "bin"))


def find_tool(name: str, package: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([*(place for place in PLACES if place), os.environ["PATH"]]))
    if found is None:
        raise AssertionError(f"{name} is not installed: pip install {package}, or run make test-deploy")
    return found


def run_tool(command: list[str], *, timeout_s: float = 110) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LOG_LEVEL": "ERROR", "BC_SKIP_MAPPING": "TRUE"}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, env=environment)


def written(directory: Path, name: str, text: str) -> str:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return str(path)
