import json

import pytest
from typer.testing import CliRunner

from ragents.cli.main import cli
from ragents.planning import ASSUMPTIONS

RUNNER = CliRunner()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--users", "0", "--chunks", "1"], "--users"),
        (["--users", "5"], "give --chunks or --documents"),
        (["--users", "5", "--chunks", "1", "--documents", "1"], "one of them"),
        (["--users", "5", "--chunks", "1", "--hit-rate", "2"], "--hit-rate"),
        (["--users", "9999999999999", "--chunks", "10"], "--users"),
        (["--users", "5", "--chunks", "999999999999999"], "--chunks"),
        (["--users", "5", "--chunks", "9" * 400], "--chunks"),
        (["--users", "5", "--documents", "999999999"], "--documents"),
        (["--users", "5", "--chunks", "1", "--questions-per-day", "1e10"], "--questions-per-day"),
        (["--users", "5", "--chunks", "1", "--questions-per-day", "nan"], "--questions-per-day"),
        (["--users", "5", "--chunks", "1", "--hit-rate", "nan"], "--hit-rate"),
        (["--users", "5", "--chunks", "1", "--assume", "busy_hours=48"], "busy_hours=48"),
        (["--users", "5", "--chunks", "1", "--model", "large"], "extractive, api or gpu"),
        (["--users", "5", "--chunks", "1", "--assume", "x=1"], "there is no 'x'"),
    ],
)
def test_what_cannot_be_planned_is_one_line_and_status_2(arguments: list[str], words: str) -> None:
    result = RUNNER.invoke(cli, ["plan", *arguments], env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 2
    assert words in result.stderr


def test_the_plan_has_each_size_with_its_arithmetic_and_every_assumption_with_its_source() -> None:
    arguments = ["plan", "--users", "50", "--documents", "1000", "--hit-rate", "0.3", "--assume", "price_prompt=1"]
    printed = RUNNER.invoke(cli, arguments, env={"COLUMNS": "250"}).stdout
    assert "1000 a day / (10 h x 3600 s) x 3" in printed
    assert "30000 chunks x 4039 bytes x 1.3" in printed
    assert "your price" in printed
    for assumption in ASSUMPTIONS.values():
        assert assumption.name in printed
        assert assumption.source in printed or assumption.name == "price_prompt"


def test_json_holds_the_same_for_machines() -> None:
    result = RUNNER.invoke(cli, ["plan", "--users", "5", "--chunks", "100000", "--model", "extractive", "--json"])
    found = json.loads(result.stdout)
    assert found["shape"] == "local"
    assert found["workload"]["questions_per_day"] == 100
    assert {each["name"] for each in found["assumptions"]} == set(ASSUMPTIONS)
    assert found["monthly_cost"] is None
    assert found["unpriced"]
