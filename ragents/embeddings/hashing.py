"""HashingEmbedder: the double. No model; texts that share words are similar, the same in every process."""

import re
import zlib
from collections.abc import Sequence

import numpy as np

from ragents.embeddings.types import Vectors
from ragents.errors import InputError, TextTooLong

WORD = re.compile(r"\w+")
SPECIAL_TOKENS = 2


class HashingEmbedder:
    """Feature hashing of lowercase words (Weinberger et al. 2009). Tokens are words, and two for the specials."""

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
        return [len(_words(text)) + SPECIAL_TOKENS for text in texts]

    async def embed_query(self, text: str) -> Vectors:
        return self._embed(text, index=0)

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self._dimension), np.float32)
        for index, text in enumerate(texts):
            vectors[index] = self._embed(text, index=index)
        return vectors

    def _embed(self, text: str, *, index: int) -> Vectors:
        words = _words(text)
        if len(words) + SPECIAL_TOKENS > self._max_tokens:
            raise TextTooLong(tokens=len(words) + SPECIAL_TOKENS, max_tokens=self._max_tokens, index=index)
        vector = np.zeros(self._dimension, np.float32)
        for word in words or [""]:
            code = zlib.crc32(word.encode("utf-8", "replace"))
            vector[code % self._dimension] += 1.0 if code & 0x8000_0000 else -1.0
        length = float(np.linalg.norm(vector))
        if length == 0:  # words that cancel each other out
            vector[0] = length = 1.0
        return vector / np.float32(length)


def _words(text: object) -> list[str]:
    if not isinstance(text, str):
        raise InputError(f"expected a text, found {type(text).__name__}", field="text")
    return [word.lower() for word in WORD.findall(text)]
