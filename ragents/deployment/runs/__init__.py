"""Runs: questions whose answers are streamed."""

from ragents.deployment.runs.registry import Runs
from ragents.deployment.runs.run import Event, Run

__all__ = ["Event", "Run", "Runs"]
