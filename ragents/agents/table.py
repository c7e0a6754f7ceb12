"""The table of agents. Adding one is its file and an entry here."""

from ragents.agents.langgraph import LangGraphRAGAgent
from ragents.agents.langgraph_base import LangGraphAgent
from ragents.agents.logical import LogicalAgent
from ragents.agents.react import ReactAgent
from ragents.agents.simple import SimpleAgent

AGENTS: dict[str, type[LangGraphAgent]] = {
    agent.name: agent for agent in (SimpleAgent, LogicalAgent, LangGraphRAGAgent, ReactAgent)
}
