"""ragents keys: mistakes, each one line and a status."""

import pytest
from typer.testing import CliRunner

from ragents.cli.main import cli

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def _memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAGENTS_CONFIG", raising=False)
    monkeypatch.setenv("RAGENTS_STORE__BACKEND", "memory")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["create", "--user", "ann", "--role", "king"], 2, "expected user or admin"),
        (["create", "--user", "ann", "--max-priority", "urgent"], 2, "expected CRITICAL, HIGH, NORMAL, LOW"),
        (["create", "--user", "ann", "--expires", "soon"], 2, "write 30m, 12h, 90d or 4w"),
        (["create", "--user", "ann", "--expires", "999999w"], 2, "too long a time; at most 36500d"),
        (["create", "--user", ""], 2, "--user '': expected 1 to 200 characters"),
        (["create", "--user", "ann", "--burst-size", "0"], 2, "--burst-size 0"),
        (["rotate", "0", "--grace", "a while"], 2, "write 30m, 12h, 90d or 4w"),
        (["list"], 2, "RAGENTS_AUTH__BOOTSTRAP_KEY"),
        (["create"], 2, "--user"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], status: int, words: str) -> None:
    result = RUNNER.invoke(cli, ["keys", *arguments])
    assert result.exit_code == status, result.output
    assert words in result.output
    assert "Traceback" not in result.output
