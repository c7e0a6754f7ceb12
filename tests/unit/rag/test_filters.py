"""What may be asked of metadata."""

from typing import Any

import pytest

from ragents.errors import InputError
from ragents.rag.filters import matches, parse_filters


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"a": None}, ["filters.a", "NoneType"]),
        ({"a": [1]}, ["filters.a", "list"]),
        ({"a": {}}, ["filters.a", "empty", "in, ne, gt"]),
        ({"a": {"like": "x"}}, ["filters.a", "'like'", "exists"]),
        ({"a": {"eq": 1}}, ["filters.a", "'eq'"]),
        ({"a": {"in": "text"}}, ["filters.a.in", "1000"]),
        ({"a": {"in": {"b": 1}}}, ["filters.a.in"]),
        ({"a": {"in": [1] * 1_001}}, ["filters.a.in", "1000"]),
        ({"a": {"in": [None]}}, ["filters.a", "NoneType"]),
        ({"a": {"exists": 1}}, ["filters.a.exists", "true or false"]),
        ({"a": {"gt": True}}, ["filters.a.gt", "True"]),
        ({"a": {"ne": [1]}}, ["filters.a", "list"]),
        ({"a": float("nan")}, ["filters.a", "out of bounds"]),
        ({"a": {"lt": float("inf")}}, ["filters.a", "out of bounds"]),
        ({"a": 2**63}, ["filters.a", "64 bits"]),
        ({"a": "x" * 2_001}, ["filters.a", "2000 bytes"]),
        ({"": 1}, ["filters", "1 to 200 bytes"]),
        ({"k" * 201: 1}, ["filters", "200 bytes"]),
        ({5: 1}, ["filters", "'5'"]),
        ({str(n): 1 for n in range(33)}, ["33 conditions", "32"]),
        ({"a": {"gt": 1, "lt": 5}} | {str(n): 1 for n in range(31)}, ["33 conditions"]),
    ],
)
def test_what_cannot_be_asked_names_the_key_and_the_remedy(filters: Any, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        parse_filters(filters)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert str(error.value.field).startswith("filters")


def test_every_operator_of_a_key_must_hold() -> None:
    assert matches({"year": 2020}, {"year": {"gte": 2020, "lt": 2021, "ne": 2019}})
    assert not matches({"year": 2021}, {"year": {"gte": 2020, "lt": 2021}})


def test_no_filter_holds_for_everything() -> None:
    assert matches({}, {})
