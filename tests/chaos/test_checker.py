"""A checker that cannot fail proves nothing."""

from dataclasses import replace

from tests.chaos.checker import Turn, violations

HISTORY = [
    ("human", "a-1", "turn a-1"),
    ("ai", "x", "done turn a-1 [1]"),
    ("human", "a-2", "turn a-2"),
    ("ai", "x", ""),
    ("tool", "x", "booked a-2"),
    ("ai", "x", "done turn a-2: booked a-2"),
]
TURNS = [
    Turn("a", 1, "t", "simple", "acked", "done turn a-1 [1]"),
    Turn("a", 2, "t", "react", "acked", "done turn a-2: booked a-2"),
]


def test_a_clean_run_has_none() -> None:
    assert violations(TURNS, {"t": HISTORY}, ["a-2"]) == []
    assert violations([replace(TURNS[0], outcome="reported")], {"t": []}, []) == []


def test_every_kind_is_found() -> None:
    assert "never told" in violations([replace(TURNS[0], outcome="lost")], {}, [])[0]
    assert "not on t" in violations(TURNS[:1], {"t": []}, [])[0]
    assert "answer is not" in violations(TURNS[:1], {"t": [HISTORY[0], *HISTORY[2:]]}, [])[0]
    assert "2 times" in violations([], {"t": [*HISTORY, *HISTORY[:2]]}, [])[0]
    assert "comes after" in violations([], {"t": [*HISTORY[2:], *HISTORY[:2]]}, [])[0]
    assert "happened 2 times" in violations(TURNS, {"t": HISTORY}, ["a-2", "a-2"])[0]
    assert "never happened" in violations(TURNS, {"t": HISTORY}, [])[0]
    mixed = [*HISTORY[:2], ("ai", "y", "done turn b-7 [1]"), *HISTORY[2:]]
    assert "another turn's answer" in violations(TURNS, {"t": mixed}, ["a-2"])[0]
