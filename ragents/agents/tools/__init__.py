"""Tools: what an agent may call, how a call is bounded, and the ledger that keeps side effects from happening twice."""

from ragents.agents.tools.ledger import Entry, Ledger, MemoryLedger
from ragents.agents.tools.making import create_tool, tool
from ragents.agents.tools.registry import Tools, create_tools
from ragents.agents.tools.types import Tool, ToolContext, ToolResult

__all__ = [
    "Entry",
    "Ledger",
    "MemoryLedger",
    "Tool",
    "ToolContext",
    "ToolResult",
    "Tools",
    "create_tool",
    "create_tools",
    "tool",
]
