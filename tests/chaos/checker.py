"""The history checker: what clients were told, beside what the threads and the world hold in the end."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Message = tuple[str, str, str]
"""(type, id, text): "human", "ai" or "tool"."""


@dataclass(frozen=True)
class Turn:
    """A turn as its client saw it end. acked: answered. reported: told that it was cut off. lost: never told."""

    client: str
    number: int
    thread: str
    agent: str
    outcome: Literal["acked", "reported", "lost"]
    answer: str = ""

    @property
    def key(self) -> str:
        return f"{self.client}-{self.number}"


def violations(turns: Sequence[Turn], histories: Mapping[str, Sequence[Message]], effects: Sequence[str]) -> list[str]:
    """Nothing for a run in which no acknowledged turn is lost, double or out of order, and no effect happened twice."""
    found = [f"{turn.key} was never told how it ended" for turn in turns if turn.outcome == "lost"]
    acked = [turn for turn in turns if turn.outcome == "acked"]
    for turn in acked:
        found += _in_history(turn, histories.get(turn.thread, ()))
    for thread, history in histories.items():
        found += [f"{key} is on {thread} {n} times" for key, n in _questions(history).items() if n > 1]
        found += _in_order(thread, history)
    counted = Counter(effects)
    found += [f"the effect of {key} happened {n} times" for key, n in counted.items() if n > 1]
    for turn in acked:
        if turn.agent == "react" and not counted[turn.key] and f"booked {turn.key}" in turn.answer:
            found.append(f"the effect of {turn.key} was told and never happened")
    return found


def _questions(history: Sequence[Message]) -> Counter[str]:
    return Counter(id_ for type_, id_, _ in history if type_ == "human")


def _in_history(turn: Turn, history: Sequence[Message]) -> list[str]:
    at = next((n for n, (type_, id_, _) in enumerate(history) if type_ == "human" and id_ == turn.key), None)
    if at is None:
        return [f"{turn.key} was acknowledged and is not on {turn.thread}"]
    end = next((n for n in range(at + 1, len(history)) if history[n][0] == "human"), len(history))
    said = [text for type_, _, text in history[at + 1 : end] if type_ == "ai" and text]
    if not any(turn.key in text.replace(":", " ").split() for text in said):
        return [f"{turn.key} was acknowledged and its answer is not on {turn.thread} before the next question"]
    if any(f"turn {turn.key}" not in text for text in said):
        return [f"another turn's answer stands between {turn.key} and the next question"]
    return []


def _in_order(thread: str, history: Sequence[Message]) -> list[str]:
    last: dict[str, int] = {}
    found = []
    for type_, id_, _ in history:
        if type_ != "human":
            continue
        client, _, number = id_.rpartition("-")
        if int(number) < last.get(client, -1):
            found.append(f"{id_} comes after {client}-{last[client]} on {thread}")
        last[client] = int(number)
    return found
