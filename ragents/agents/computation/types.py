"""What a computation gives back, and how it refuses."""

from dataclasses import dataclass
from typing import Literal

from ragents.errors import InputError

Kind = Literal["number", "quantity", "date", "duration", "truth"]


@dataclass(frozen=True, slots=True)
class Computed:
    """`value` is exact: "10.5", "1/3", "sqrt(2)", "12000 EUR", "2024-02-29", "308 days", "true".

    `about` is a decimal for a value that has no short one. `steps` say what was done, in order.
    """

    expression: str
    value: str
    kind: Kind
    steps: tuple[str, ...] = ()
    about: str = ""
    of_today: bool = False
    """whether it is another one tomorrow"""

    @property
    def text(self) -> str:
        """For a reader: the exact value, or the decimal where the exact one says little."""
        return f"about {self.about}" if self.about else self.value


def problem(what: str) -> InputError:
    """`what` names the expression's problem and what to write instead."""
    return InputError(f"cannot calculate: {what}", field="expression", code="invalid_expression")
