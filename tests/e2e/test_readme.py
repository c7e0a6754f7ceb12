"""What the README shows is run as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Server, environment

README = (ROOT / "README.md").read_text("utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
CURL = [
    command
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for command in re.findall(r"^\$ (curl (?:.*\\\n)*.*)", block, re.MULTILINE)
]


def run(command: list[str], home: Path) -> str:
    done = subprocess.run(
        command, env=environment(home), capture_output=True, text=True, timeout=60, cwd=home, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_is_something_to_run() -> None:
    assert len(PYTHON) >= 2
    assert len(CURL) >= 3


@pytest.mark.parametrize("program", PYTHON)
def test_a_program_of_the_readme_prints_an_answer(server: Server, program: str, tmp_path: Path) -> None:
    printed = run([sys.executable, "-c", program.replace("localhost:3000", f"127.0.0.1:{server.port}")], tmp_path)
    assert "encoder" in printed


@pytest.mark.parametrize("command", CURL)
def test_a_command_of_the_readme_is_answered(server: Server, command: str, tmp_path: Path) -> None:
    printed = run(["bash", "-c", command.replace("localhost:3000", f"127.0.0.1:{server.port}")], tmp_path)
    assert '"error"' not in printed
    assert "encoder" in printed or "hit_rate" in printed
