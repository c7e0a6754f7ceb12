"""What one turn may spend. Running out ends a turn cleanly: LangGraphAgent answers with what is known so far."""

import math
import sys
import time
from dataclasses import dataclass, field

from ragents.errors import BudgetExceeded
from ragents.llm.types import Usage


@dataclass(slots=True)
class Budget:
    """Counted per turn and process, not stored: a turn that goes on after a crash starts a new one.

    `tokens` counts prompt and completion, `seconds` from the budget's making. Without limits until they are given.
    """

    tokens: int = sys.maxsize
    seconds: float = math.inf
    spent: Usage = field(default_factory=Usage)
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float:
        return max(0.0, self.started + self.seconds - time.monotonic())

    def within(self, *, tokens: int, seconds: float) -> "Budget":
        """The smaller of both, from now on."""
        return Budget(min(self.tokens, tokens), min(self.seconds, seconds), self.spent)

    def charge(self, usage: Usage) -> None:
        """After each call of a model. BudgetExceeded once the turn has spent all it may."""
        self.spent += usage
        self.check()

    def check(self) -> None:
        """Before a step that costs: BudgetExceeded when tokens or seconds are gone."""
        spent = self.spent.prompt_tokens + self.spent.completion_tokens
        if spent >= self.tokens:
            raise BudgetExceeded(f"the turn has spent {spent} of {self.tokens} tokens (agents.max_tokens_per_turn)")
        if not self.seconds_left:
            raise BudgetExceeded(f"the turn has taken its {self.seconds:g} s (agents.turn_timeout_s)")
