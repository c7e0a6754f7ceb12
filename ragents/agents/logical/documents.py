"""Which document a name means, among those that the sources come from."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from ragents.rag.types import Source

ARTICLE = re.compile(r"^\s*(?:the|our|my|a|an)\s+(?:document\s+|file\s+)?", re.IGNORECASE)
Titles = dict[str, tuple[str, str]]
"""document_id -> (uri, title)"""


def matching(name: str, sources: Sequence[Source]) -> Titles:
    """The documents of this uri, file name or title; else those whose name holds all its words. Empty for none."""
    documents: Titles = {source.document_id: (source.uri, source.title) for source in sources}
    wanted = _plain(ARTICLE.sub("", name))
    if not wanted:
        return {}
    by_uri = {key: each for key, each in documents.items() if each[0] == name.strip()}
    by_name = {key: each for key, each in documents.items() if wanted in _names(each)}
    words = set(wanted.split())
    by_words = {key: each for key, each in documents.items() if words <= set(_plain(" ".join(each)).split())}
    return by_uri or by_name or by_words


def _names(document: tuple[str, str]) -> set[str]:
    path, title = PurePosixPath(document[0]), PurePosixPath(document[1])
    return {_plain(path.name), _plain(path.stem), _plain(title.name), _plain(title.stem)}


def _plain(text: str) -> str:
    """ "Project-Plan" and "project plan" are one."""
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))
