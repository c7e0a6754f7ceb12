"""Where results are written down with the arithmetic that made them."""

from collections.abc import Mapping

from ragents.planning.types import Line


class Sheet:
    """Assumptions by name, and the lines so far."""

    def __init__(self, values: Mapping[str, float | None]) -> None:
        self._values = values
        self.lines: list[Line] = []

    def __getitem__(self, name: str) -> float:
        value = self._values[name]
        if value is None:
            raise KeyError(f"{name} has no value; only prices may lack one")
        return value

    def price(self, name: str) -> float | None:
        return self._values[name]

    def put(self, section: str, name: str, value: float, unit: str, how: str) -> float:
        self.lines.append(Line(section, name, value, unit, how))
        return value

    def say(self, section: str, name: str, words: str, how: str) -> None:
        self.lines.append(Line(section, name, words, "", how))
