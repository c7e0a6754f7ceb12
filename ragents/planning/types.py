"""What is asked of the planner, and what it answers."""

from dataclasses import dataclass, field
from typing import Literal

from ragents.errors import InputError

Model = Literal["extractive", "api", "gpu"]
Shape = Literal["local", "one machine", "cluster"]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """`hit_rate` is the share of questions that the answer cache serves. InputError names what cannot be."""

    users: int
    questions_per_day: float
    chunks: int
    hit_rate: float = 0.0
    model: Model = "api"

    def __post_init__(self) -> None:
        if self.users < 1:
            raise InputError(f"users = {self.users}: expected at least 1", field="users")
        if not 0 <= self.questions_per_day <= 1e9:
            raise InputError(
                f"questions per day = {self.questions_per_day:g}: expected 0 to 1e9", field="questions_per_day"
            )
        if not 0 <= self.chunks <= 10**9:
            raise InputError(f"chunks = {self.chunks}: expected 0 to 1e9", field="chunks")
        if not 0 <= self.hit_rate <= 1:
            raise InputError(f"hit rate = {self.hit_rate:g}: expected a share, 0 to 1", field="hit_rate")


@dataclass(frozen=True, slots=True)
class Line:
    """A result and how it came about: `how` is the arithmetic with its numbers."""

    section: str
    name: str
    value: float | str
    unit: str = ""
    how: str = ""


@dataclass(frozen=True)
class Plan:
    """`monthly_cost` is None as long as a price is not known; `unpriced` says what of it there is per month."""

    shape: Shape
    lines: list[Line] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    unpriced: list[str] = field(default_factory=list)
    monthly_cost: float | None = None
    cost_per_question: float | None = None

    def value(self, section: str, name: str) -> float | str:
        """The value of a line; KeyError when there is none."""
        for line in self.lines:
            if (line.section, line.name) == (section, name):
                return line.value
        raise KeyError(f"{section}: {name}")
