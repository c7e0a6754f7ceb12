"""Which parts of the passages make an answer."""

import pytest

from ragents.llm.excerpts import MAX_CHARACTERS, MAX_SENTENCES, Candidates, joined
from ragents.llm.passages import Passage


def answer(question: str, *passages: Passage, near: str = "\0", cosine: float = 0.6) -> str:
    """Sentences that hold `near` have the cosine, others .1."""
    candidates = Candidates(question, passages)
    cosines = {sentence: cosine if near in sentence else 0.1 for sentence in candidates.to_embed()}
    return joined(candidates.best(cosines))


def test_passages_without_a_sentence_give_no_excerpt() -> None:
    candidates = Candidates("Which port?", [Passage(1, "# Ports"), Passage(2, "two words")])
    assert (candidates.to_embed(), candidates.best({})) == ([], [])


def test_a_question_without_content_words_is_answered_by_the_nearest_sentence() -> None:
    assert answer("And what is it?", Passage(1, "The cat is here.\n\nThe dog is there."), near="dog") == (
        "The dog is there. [1]"
    )


def test_of_equally_near_sentences_the_one_with_the_rarer_words_of_the_question_is_taken() -> None:
    passage = Passage(1, "The worker starts.\n\nThe worker has a heartbeat.\n\nThe worker stops.\n\nThe worker rests.")
    assert answer("Has the worker a heartbeat?", passage) == "The worker has a heartbeat. [1]"


def test_what_a_sentence_introduces_comes_with_it() -> None:
    passage = Passage(
        1, "You can disable every timeout:\n\n```python\nget(url, timeout=None)\n```\n\nOther matters follow."
    )
    assert answer("How do I disable a timeout?", passage, near="disable") == (
        "You can disable every timeout:\n```python\nget(url, timeout=None)\n```\n[1]"
    )


def test_steps_that_are_introduced_are_told_to_the_last() -> None:
    steps = "1. Find its number.\n2. Ask the keeper for it.\n3. Wait a day."
    passage = Passage(1, f"To order a part do this:\n\n{steps}\n\nThe keeper is never away.")
    told = f"To order a part do this:\n{steps} [1]"
    assert answer("How do I order a part?", passage, near="order") == told
    unordered = Passage(1, passage.text.replace("1.", "-").replace("2.", "-").replace("3.", "-"))
    assert "Wait" not in answer("How do I order a part?", unordered, near="order")


def test_a_part_brings_the_heading_right_above_it_and_its_short_neighbours() -> None:
    passage = Passage(3, "### MCP_PORT\n\n- Default: `1417`\n- Description: Port for the MCP server")
    assert answer("What is the port of the MCP server?", passage, near="Port") == (
        "MCP_PORT:\n- Default: `1417`\n- Description: Port for the MCP server [3]"
    )


def test_a_name_of_code_has_the_words_that_it_is_put_together_from() -> None:
    passage = Passage(1, "Set WORKER_HEARTBEAT for it.\n\nSet everything else here.\n\nSet retryAttempts if needed.")
    assert answer("What sets the heartbeat?", passage) == "Set WORKER_HEARTBEAT for it. [1]"
    assert answer("What sets the attempts?", passage) == "Set retryAttempts if needed. [1]"


def test_the_words_of_headings_and_title_count_for_what_stands_under_them() -> None:
    passages = [
        Passage(1, "The default is 4 threads.", "Queues"),
        Passage(2, "The default is 8 threads.", "Guide", ("Start", "Startup of pipelines")),
    ]
    assert answer("How many threads at the startup of pipelines?", *passages, near="threads").startswith(
        "The default is 8 threads. [2]"
    )


def test_equally_good_parts_are_taken_from_the_better_passage() -> None:
    passages = [Passage(n, f"The limit of plan {n} is stated. More is not known.") for n in range(1, 4)]
    assert answer("What is the limit?", *passages, near="limit").startswith("The limit of plan 1")


def test_a_text_that_two_passages_share_is_said_once() -> None:
    both = "The cat sits on the mat."
    assert answer("Where is the cat?", Passage(1, both), Passage(2, both), near="cat") == f"{both} [1]"


def test_excerpts_stop_at_their_characters() -> None:
    text = " ".join(f"The limit of plan {n} is {n} jobs." for n in range(100))
    found = answer("What is the limit of plans?", Passage(1, text), near="limit")
    assert MAX_CHARACTERS - 60 < len(found) < MAX_CHARACTERS + 60


def test_a_best_part_longer_than_all_room_is_told_alone() -> None:
    long = "The limit is " + "very " * 200 + "high."
    assert (
        answer("What is the limit?", Passage(1, f"Short words first. {long} Then there is more."), near="limit")
        == f"{long} [1]"
    )


def test_what_is_embedded_is_bounded_and_begins_with_what_shares_most() -> None:
    text = "\n\n".join(f"Sentence number {n} is here." for n in range(500))
    sentences = Candidates("Which sentence is 499?", [Passage(1, text)]).to_embed()
    assert (len(sentences), sentences[0]) == (MAX_SENTENCES, "Sentence number 499 is here.")


@pytest.mark.parametrize("cosine", [-0.2, 0.0])
def test_a_question_far_from_everything_still_gets_one_excerpt(cosine: float) -> None:
    assert answer("Zzyzx?", Passage(1, "The cat is here.\n\nThe dog is there."), near="dog", cosine=cosine)


def test_footnotes_of_a_passage_do_not_become_citations() -> None:
    passage = Passage(1, "The cat [2] sits on the mat.[3, 4]\n\nOther things are elsewhere.")
    assert answer("Where is the cat?", passage, near="cat") == "The cat sits on the mat. [1]"


def test_code_under_a_heading_begins_on_a_line_of_its_own() -> None:
    passage = Passage(1, "# How to start it\n```sh\nragents serve\n```\n\nAnother matter is told here.")
    assert answer("How do I start it?", passage, near="serve") == "How to start it:\n```sh\nragents serve\n```\n[1]"


def test_code_brings_what_introduces_it_and_an_item_its_next_sentence() -> None:
    passage = Passage(1, "- Hidden things are here. They are the others.\n- Run it:\n\n```sh\nragents serve\n```")
    assert answer("What serves?", passage, near="serve") == "Run it:\n```sh\nragents serve\n```\n[1]"
    assert answer("Which things are hidden?", passage, near="e").startswith(
        "- Hidden things are here. They are the others.\n"
    )


TABLE = "| Gremlin | Hue | Mass |\n|---|---|---|\n| Alfa | teal | 13 g |\n| Bravo | mauve | 17 g |"


def test_the_columns_of_a_table_alone_are_no_answer() -> None:
    candidates = Candidates("What is the mass?", [Passage(1, "| Gremlin | Hue | Mass |\n|---|---|---|")])
    assert (candidates.to_embed(), candidates.best({})) == ([], [])


def test_the_row_that_is_asked_for_is_told_with_its_columns_and_without_the_others() -> None:
    assert answer("What is the mass of Bravo gremlin?", Passage(1, TABLE), near="g", cosine=0.3) == (
        "| Gremlin | Hue | Mass |\n|---|---|---|\n| Bravo | mauve | 17 g |\n\n[1]"
    )


def test_rows_under_a_heading_are_a_table_of_their_own_beside_prose() -> None:
    passage = Passage(1, f"# Weights\n{TABLE}\n\nThe mass is that of a dry gremlin.")
    assert answer("What mass has each gremlin?", passage, near="g", cosine=0.5) == (
        f"Weights:\n\n{TABLE}\n\nThe mass is that of a dry gremlin. [1]"
    )


def test_rows_that_do_not_follow_each_other_are_one_table() -> None:
    rows = "".join(f"\n| {name} | {port} |" for name, port in (("web", 80), ("mail", 25), ("proxy", 81)))
    passage = Passage(1, f"| Name | Port |\n|---|---|{rows}")
    assert answer("Ports of web and proxy?", passage, near="\0") == (
        "| Name | Port |\n|---|---|\n| web | 80 |\n| proxy | 81 |\n\n[1]"
    )


PUMPS = "\n\n".join(
    f"## Pump {name}\n\nIt is for water.\n\n- Warranty: {n} months" for name, n in (("A1", 36), ("B2", 24))
)


def test_what_is_told_of_several_sections_names_each_and_begins_with_the_one_asked_for() -> None:
    assert answer("What is the warranty of pump B2?", Passage(1, PUMPS), near="Warranty", cosine=0.95) == (
        "Pump B2: Warranty: 24 months [1] Pump A1: Warranty: 36 months [1]"
    )


def test_sections_of_several_passages_are_named_as_their_headings_are() -> None:
    passages = [
        Passage(1, "- Warranty: 36 months", "Pumps", ("Products", "Pump A1")),
        Passage(2, "- Warranty: 24 months", "Pumps", ("Products", "Pump B2")),
    ]
    assert answer("What is the warranty of pump B2?", *passages, near="Warranty", cosine=0.95) == (
        "Pump B2: Warranty: 24 months [2] Pump A1: Warranty: 36 months [1]"
    )
