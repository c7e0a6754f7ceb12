"""What every backend accepts as texts."""

from collections.abc import Sequence

from ragents.errors import InputError


def read_texts(texts: Sequence[str]) -> list[str]:
    """The texts, each one encodable as UTF-8: a lone surrogate (half of a broken emoji, say) becomes "?".

    Raises InputError for anything else, and for a single str, which would be taken letter by letter.
    """
    if isinstance(texts, str | bytes):
        raise InputError(f"expected a list of texts, found one {type(texts).__name__}", field="texts")
    return [read_text(text) for text in texts]


def read_text(text: object) -> str:
    if not isinstance(text, str):
        raise InputError(f"expected a text, found {type(text).__name__}", field="text")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
