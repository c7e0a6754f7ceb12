"""The table of agents. Adding one is its file and an entry here."""

from ragents.agents.langgraph_base import LangGraphAgent
from ragents.agents.simple import SimpleAgent

AGENTS: dict[str, type[LangGraphAgent]] = {agent.name: agent for agent in (SimpleAgent,)}
