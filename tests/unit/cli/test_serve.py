"""ragents serve: what it hands to `bentoml serve`."""

import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ragents.cli.main import cli
from tests.e2e.conftest import free_port


class Became(Exception):
    """In place of the process that `ragents serve` becomes."""


def environment_of(monkeypatch: pytest.MonkeyPatch, port: int) -> dict[str, str]:
    became: list[dict[str, str]] = []

    def execve(_program: str, _arguments: list[str], environment: dict[str, str]) -> Any:
        became.append(environment)
        raise Became

    monkeypatch.setattr(os, "execve", execve)
    result = CliRunner().invoke(cli, ["serve", "--port", str(port)])
    assert isinstance(result.exception, Became), result.output
    return became[0]


def test_two_servers_of_one_home_have_a_directory_each_for_their_metrics(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    first, second = free_port(), free_port()
    homes = [environment_of(monkeypatch, port)["BENTOML_HOME"] for port in (first, second)]
    assert homes == [str(tmp_path / f"serve-{first}"), str(tmp_path / f"serve-{second}")]
    monkeypatch.delenv("BENTOML_HOME")
    assert environment_of(monkeypatch, first)["BENTOML_HOME"] == str(Path.home() / "bentoml" / f"serve-{first}")
