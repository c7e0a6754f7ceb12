"""Computation: arithmetic, units, dates and comparisons by libraries, bounded in time and size, never `eval`.

`calculate` takes one expression; `find_dates` and `find_quantities` find its operands in a text.
"""

from ragents.agents.computation.calculating import calculate, is_calculation
from ragents.agents.computation.dates import FoundDate, find_dates
from ragents.agents.computation.quantities import FoundQuantity, find_quantities
from ragents.agents.computation.types import Computed, Kind

__all__ = [
    "Computed",
    "FoundDate",
    "FoundQuantity",
    "Kind",
    "calculate",
    "find_dates",
    "find_quantities",
    "is_calculation",
]
