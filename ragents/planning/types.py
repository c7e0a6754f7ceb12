"""What is asked of the planner, and what it answers."""

from dataclasses import dataclass, field
from typing import Literal

from ragents.errors import InputError

MAX_USERS, MAX_QUESTIONS_PER_DAY, MAX_CHUNKS = 10**7, 10**9, 10**9
"""Beyond, arithmetic on measurements of a million chunks and two cores says nothing."""

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
        if not 1 <= self.users <= MAX_USERS:
            raise InputError(f"users = {self.users}: expected 1 to {MAX_USERS}", field="users")
        if not 0 <= self.questions_per_day <= MAX_QUESTIONS_PER_DAY:
            raise InputError(
                f"questions per day = {self.questions_per_day:g}: expected 0 to 1e9", field="questions_per_day"
            )
        if not 0 <= self.chunks <= MAX_CHUNKS:
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
