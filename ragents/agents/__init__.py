"""The table of agents. Adding one is its file and an entry here."""

from ragents.agents.conversations import Conversations
from ragents.agents.langgraph_base import LangGraphAgent
from ragents.agents.simple import SimpleAgent
from ragents.agents.types import AgentAnswer, AgentConfig, Turn

__all__ = ["AGENTS", "AgentAnswer", "AgentConfig", "Conversations", "LangGraphAgent", "Turn"]

AGENTS: dict[str, type[LangGraphAgent]] = {agent.name: agent for agent in (SimpleAgent,)}
