"""What the double alone promises; the rest is in the conformance table."""

import asyncio
import os
import subprocess
import sys

import numpy as np

from ragents.embeddings.hashing import HashingEmbedder

PROGRAM = """
import asyncio
from ragents.embeddings.hashing import HashingEmbedder
print(asyncio.run(HashingEmbedder().embed_query("the same in every process")).tobytes().hex())
"""


def test_a_vector_is_the_same_in_every_process() -> None:
    expected = asyncio.run(HashingEmbedder().embed_query("the same in every process")).tobytes().hex()
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert run.stdout.strip() == expected


async def test_words_that_cancel_each_other_out_still_give_a_unit_vector() -> None:
    """In one dimension every word is +1 or -1."""
    vectors = await HashingEmbedder(dimension=1).embed_documents([f"{a} {b}" for a in "abcdefgh" for b in "abcdefgh"])
    assert np.abs(vectors).tolist() == [[1.0]] * 64


async def test_case_and_punctuation_do_not_matter() -> None:
    one, other = await HashingEmbedder().embed_documents(["The Cat: sits!", "the cat sits"])
    assert np.array_equal(one, other)


def test_the_dimension_is_part_of_the_name() -> None:
    assert HashingEmbedder(dimension=16).model != HashingEmbedder(dimension=32).model
