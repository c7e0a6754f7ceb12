"""react: reason and act with tools in turns, within bounds, then answer with checked citations."""

from ragents.agents.react.agent import ReactAgent

__all__ = ["ReactAgent"]
