"""The programs of docs/agents.md, as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from benchmarks.mock_llm import MockLLM
from benchmarks.mock_llm.types import Step, ToolCall
from tests.e2e.conftest import BENTOML, ROOT, StartServer, environment

BOOKED = "G020 is booked for 2026-12-01"
STEPS = (
    Step(tool_calls=[ToolCall(name="book_room", arguments={"room": "G020", "day": "2026-12-01"})]),
    Step(content="{}.", echo=r"(G020 is booked for [\d-]+)"),
)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory with each program under the name that its first line gives it."""
    text = (ROOT / "docs" / "agents.md").read_text()
    found = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", text, re.DOTALL)
    assert [name for name, _ in found] == ["my_service.py", "my_program.py"]
    for name, code in found:
        (tmp_path / name).write_text(code)
    return tmp_path


def settings(mock: MockLLM, programs: Path) -> dict[str, str]:
    return {
        "RAGENTS_LLM__PROVIDER": "openai",
        "RAGENTS_LLM__MODEL_NAME": "mock",
        "RAGENTS_LLM__BASE_URL": mock.url,
        "RAGENTS_EMBEDDINGS__BACKEND": "hashing",
        "RAGENTS_SERVING__SAMPLE_DOCUMENTS": str(ROOT / "docs" / "keys.md"),
        "PYTHONPATH": f"{ROOT}:{programs}",
    }


def test_the_served_agent_calls_a_tool_of_one_s_own(start_server: StartServer, mock: MockLLM, programs: Path) -> None:
    command = [*BENTOML, "serve", "my_service:RAGentsService"]
    server = start_server("own-tools", command, cwd=programs, **settings(mock, programs))
    mock.play(*STEPS)
    asked = {"query": "Book room G020 for 2026-12-01.", "agent_type": "react"}
    response = httpx.post(f"{server.url}/query", json=asked, timeout=60)
    assert BOOKED in response.json()["answer"], response.text
    server.stop()


def test_the_program_calls_it_without_a_server(home: Path, mock: MockLLM, programs: Path) -> None:
    mock.play(*STEPS)
    done = subprocess.run(
        [sys.executable, "my_program.py"],
        env=environment(home / "own-program", **settings(mock, programs)),
        cwd=programs,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert BOOKED in done.stdout, done.stderr
