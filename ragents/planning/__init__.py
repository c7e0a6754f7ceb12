"""How large an installation has to be, from what it is asked and what was measured. Nothing is opened or read."""

from ragents.planning.assumptions import ASSUMPTIONS, Assumption, assume
from ragents.planning.sizing import plan
from ragents.planning.types import Line, Plan, Workload

__all__ = ["ASSUMPTIONS", "Assumption", "Line", "Plan", "Workload", "assume", "plan"]
