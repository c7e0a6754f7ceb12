"""The logical agent: a question becomes a form, its operands are found in sources, and the result is computed."""

from ragents.agents.logical.agent import LogicalAgent

__all__ = ["LogicalAgent"]
