"""Agents: LangGraph graphs over the engine. The table of them is in ragents/agents/table.py.

This door leads to plain values only, so that reading the settings does not load LangGraph.
"""

from ragents.agents.types import AgentAnswer, AgentConfig, Turn

__all__ = ["AgentAnswer", "AgentConfig", "Turn"]
