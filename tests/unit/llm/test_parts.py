"""A passage in the parts that an answer is made of."""

import pytest

from ragents.llm.parts import Part, parts_of
from ragents.llm.sentences import split_sentences


def shown(text: str) -> list[tuple[str, str]]:
    return [(part.kind, part.text) for part in parts_of(text)]


@pytest.mark.parametrize("text", ["", " \n\n ", "---\n", "|---|---|", "```\n\n```", "```\nwork[0]\n```"])
def test_what_says_nothing_has_no_parts(text: str) -> None:
    assert parts_of(text) == []


def test_code_between_fences_is_one_part_whatever_lines_it_has() -> None:
    code = "```python\n# wait for all jobs\n\nawait worker\n- 1\n```"
    assert shown(f"Stop it so:\n\n{code}\n\nIt stops at once then.") == [
        ("sentence", "Stop it so:"),
        ("code", code),
        ("sentence", "It stops at once then."),
    ]


def test_a_passage_that_begins_inside_of_code_is_code_up_to_the_fence() -> None:
    assert shown("await worker\n```\n\nThen the worker stops.") == [
        ("code", "```\nawait worker\n```"),
        ("sentence", "Then the worker stops."),
    ]


def test_code_that_the_passage_ends_in_is_closed() -> None:
    assert shown("Run this now:\n```sh\nragents serve") == [
        ("sentence", "Run this now:"),
        ("code", "```sh\nragents serve\n```"),
    ]


def test_a_fence_with_a_language_does_not_end_code() -> None:
    assert shown("~~~\na\n```python\nb\n~~~\nAll of it is code.")[-1] != ("code", "```\na\n```")


def test_a_fragment_goes_with_the_sentence_before_it_and_not_across_a_blank_line() -> None:
    assert shown("- `limit`, how many are kept at once. (Default 20)") == [
        ("item", "`limit`, how many are kept at once. (Default 20)")
    ]
    assert shown("How many are kept at once.\n\nIt varies.") == [
        ("sentence", "How many are kept at once."),
        ("sentence", "It varies."),
    ]


def test_what_is_embedded_of_prose_are_its_sentences_as_they_may_be_stored() -> None:
    text = "# Limits of jobs\nA job has two limits. (Both) They are set once.\n\n- the first one is time\n- two\n"
    assert [sentence for part in parts_of(text) for sentence in part.sentences] == split_sentences(text)


def test_headings_items_and_rows_are_told_apart_and_keep_their_marks_among_others() -> None:
    parts = parts_of("## Ports of servers\n1. the first one is ours\n\n| name | port |\n|---|---|\n| web page | 80 |")
    assert [(part.kind, part.laid_out) for part in parts] == [
        ("heading", "Ports of servers"),
        ("item", "1. the first one is ours"),
        ("row", "| web page | 80 |"),
    ]
    assert parts[2].columns == "| name | port |\n|---|---|"
    assert parts[1].text == "the first one is ours"


def test_a_closing_mark_behind_the_full_stop_stays() -> None:
    assert shown("(It is closed at night.) You knock twice.") == [
        ("sentence", "(It is closed at night.)"),
        ("sentence", "You knock twice."),
    ]


@pytest.mark.parametrize(
    ("text", "introduces"), [("**Options here:**", True), ("Like this...", True), ("A: b.", False)]
)
def test_a_part_that_ends_open_introduces_the_next(text: str, *, introduces: bool) -> None:
    assert Part("sentence", text, text, (), 0).introduces == introduces


def test_an_item_of_hardly_a_word_is_a_fragment_and_a_short_sentence_is_none() -> None:
    assert [part.is_fragment for part in parts_of("It rained.\n\n- Default: `5`\n- the time in seconds")] == [
        False,
        True,
        False,
    ]


def test_a_line_of_columns_without_a_row_under_it_has_no_part_and_a_row_without_columns_has_one() -> None:
    assert parts_of("| name | port |\n|---|---|\n") == []
    assert [(part.text, part.columns) for part in parts_of("| web page | 80 |\n| proxy | 81 |")] == [
        ("| web page | 80 |", ""),
        ("| proxy | 81 |", ""),
    ]


def test_each_table_names_its_own_columns() -> None:
    tables = (
        "| name | port |\n|:--|--:|\n| web page | 80 |\n|---|---|\n| proxy | 81 |\n\n| a | b |\n|---|---|\n| c | d |"
    )
    assert [(part.text, part.columns) for part in parts_of(tables)] == [
        ("| web page | 80 |", "| name | port |\n|:--|--:|"),
        ("| proxy | 81 |", "| name | port |\n|:--|--:|"),
        ("| c | d |", "| a | b |\n|---|---|"),
    ]
