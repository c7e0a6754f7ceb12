"""HashingEmbedder: the double. No model; texts that share words are similar, and the same in every process."""

import asyncio
import re
import zlib
from collections.abc import Sequence

import numpy as np

from ragents.embeddings.texts import read_text, read_texts
from ragents.embeddings.types import Vectors
from ragents.errors import TextTooLong

WORD = re.compile(r"\w+")
SPECIAL_TOKENS = 2


class HashingEmbedder:
    """Feature hashing of lowercase words (Weinberger et al. 2009). A token is a word; two more stand for specials."""

    def __init__(self, *, dimension: int = 384, max_tokens: int = 256) -> None:
        self._dimension, self._max_tokens = dimension, max_tokens

    @property
    def model(self) -> str:
        return f"hashing-{self._dimension}"

    @property
    def dimension(self) -> int:
        return self._dimension

    @property
    def max_tokens(self) -> int:
        return self._max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(_words(text)) + SPECIAL_TOKENS for text in read_texts(texts)]

    async def embed_query(self, text: str) -> Vectors:
        vector: Vectors = self._embed([read_text(text)])[0]
        return vector

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return await asyncio.to_thread(self._embed, read_texts(texts))

    def _embed(self, texts: list[str]) -> Vectors:
        words = [_words(text) for text in texts]
        for index, found in enumerate(words):
            if len(found) + SPECIAL_TOKENS > self._max_tokens:
                raise TextTooLong(tokens=len(found) + SPECIAL_TOKENS, max_tokens=self._max_tokens, index=index)
        vectors = np.zeros((len(texts), self._dimension), np.float32)
        for vector, found in zip(vectors, words, strict=True):
            self._fill(vector, found)
        return vectors

    def _fill(self, vector: Vectors, words: list[str]) -> None:
        for word in words:
            # crc32, since hash() differs from process to process; the top bit is the sign.
            code = zlib.crc32(word.encode())
            vector[code % self._dimension] += 1.0 if code & 0x8000_0000 else -1.0
        if not vector.any():  # no words, or words that cancel each other out
            vector[0] = 1.0
        vector /= np.linalg.norm(vector)


def _words(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]
