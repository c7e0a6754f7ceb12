"""Ids as Postgres can keep them: it knows neither NUL nor lone surrogates. The order of other ids does not change."""

import re
from collections.abc import Iterable

ESCAPED = re.compile(r"\\(\\|0|u[0-9a-f]{4})")


def to_text(identifier: str) -> str:
    """NUL, surrogates and the backslash itself are written with a backslash."""
    if "\\" not in identifier and "\0" not in identifier and identifier.isascii():
        return identifier
    text = identifier.replace("\\", "\\\\").replace("\0", "\\0")
    return text.encode("utf-8", "backslashreplace").decode()


def optional(identifier: str | None) -> str | None:
    return None if identifier is None else to_text(identifier)


def array(texts: Iterable[str]) -> str:
    """An array as Postgres reads it from text."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"


def from_text(text: str) -> str:
    """What `to_text` was given."""
    if "\\" not in text:
        return text
    return ESCAPED.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    match match[1]:
        case "\\":
            return "\\"
        case "0":
            return "\0"
        case code:
            return chr(int(code[1:], 16))
