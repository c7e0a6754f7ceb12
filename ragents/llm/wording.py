"""Words of a text as the rules compare them: lower case, without the words that carry no subject."""

import re
from itertools import pairwise

WORD = re.compile(r"\w+(?:[.'’-]\w+)*")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
NAME = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|_")
"""Where names of code are put together: MCP_PORT and mcpPort are about a port."""
STEM = 5
"""Characters by which two words count as one: batch, batches and batching do."""

_STOP_WORDS = """
a about above after again against all also am an and any are as at be because been before being below between both
but by can could did do does doing done down during each else every few first for from further get give given gives
go had has have having he her here hers him his how however i if in into is it its itself just let like made make
many may me mean means might more most much must my no nor not now of off on once one ones only or other our ours
out over own per please really said same say says shall she should show since so some such tell than that the their
theirs them then there these they this those through to too under until up us use used using very was we were what
when where whether which while who whom whose why will with within without would yes yet you your yours
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


def content_words(text: str) -> list[str]:
    """In order, each once."""
    words = (word.lower().removesuffix("'s").removesuffix("’s") for word in WORD.findall(text))
    return list(dict.fromkeys(word for word in words if word not in STOP_WORDS and (len(word) > 1 or word.isdigit())))


def stems(text: str) -> set[str]:
    """Content words without their endings. Numbers are apart: see `numbers`."""
    return {_stem(word) for word in content_words(text) if not NUMBER.fullmatch(word)}


def numbers(text: str) -> set[str]:
    """As written, thousands separators off: "1,200" and "1200" are one."""
    return set(NUMBER.findall(THOUSANDS.sub("", text)))


def terms(text: str) -> set[str]:
    """Stems and numbers, those in names of code too."""
    text = NAME.sub(" ", text)
    return stems(text) | numbers(text)


def pairs(text: str) -> set[tuple[str, str]]:
    """Stems of content words that stand side by side, in their order."""
    words = (word.lower().removesuffix("'s").removesuffix("’s") for word in WORD.findall(NAME.sub(" ", text)))
    both = pairwise(words)
    return {(_stem(first), _stem(second)) for first, second in both if not {first, second} & STOP_WORDS}


def _stem(word: str) -> str:
    return word.removesuffix("s")[:STEM]
