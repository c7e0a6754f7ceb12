"""An OpenAI-compatible server that answers as it is told: for tests and load runs."""

from benchmarks.mock_llm.server import MockLLM, open_mock_llm

__all__ = ["MockLLM", "open_mock_llm"]
