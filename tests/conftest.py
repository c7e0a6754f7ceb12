"""What every tier shares: real servers made for the run, and nothing read from the developer's own settings."""

import os

import pytest

# Set before anything imports BentoML or LangSmith: no calls home, no traces.
os.environ.update(BENTOML_DO_NOT_TRACK="true", LANGSMITH_TRACING="false", LANGGRAPH_STRICT_MSGPACK="true")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("RAGENTS_"):
            monkeypatch.delenv(name)
