"""HTML to Markdown, for pages, the bodies of mails, and the chapters of books."""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from bs4 import BeautifulSoup, Tag, XMLParsedAsHTMLWarning
from markdownify import MarkdownConverter

from ragents.rag.loaders.text import first_heading
from ragents.rag.loaders.types import LoadedDocument
from ragents.rag.types import TextBlock

# XHTML is read as HTML on purpose: books and pages are often not well-formed.
warnings.filterwarnings("ignore", category=XMLParsedAsHTMLWarning)

DROPPED = ("script", "style", "noscript", "template", "svg", "nav", "iframe", "object", "head")
HIDDEN = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
CONVERTER = MarkdownConverter(
    heading_style="ATX",
    bullets="-",
    strip=["a", "img"],
    escape_misc=False,
    escape_asterisks=False,
    escape_underscores=False,
)


def load_html(path: Path, uri: str) -> Iterator[LoadedDocument]:
    title, text = html_to_markdown(path.read_bytes())
    yield LoadedDocument(uri, title or first_heading(text) or path.stem, "html", [TextBlock(text)])


def html_to_markdown(source: bytes | str) -> tuple[str, str]:
    """Title (may be empty) and text. Bytes are decoded as the document itself declares."""
    soup = BeautifulSoup(source, "lxml")
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    for tag in soup(DROPPED):
        tag.decompose()
    for tag in soup.find_all(_is_hidden):
        if not tag.decomposed:
            tag.decompose()
    try:
        text: str = CONVERTER.convert_soup(soup)
    except RecursionError:
        # Nested deeper than Python's stack: the words are kept, the structure is lost.
        text = soup.get_text("\n")
    return title, _tidy(text)


def _is_hidden(tag: Tag) -> bool:
    """What a reader of the page does not see, as far as the element itself says so."""
    return tag.has_attr("hidden") or HIDDEN.search(str(tag.get("style") or "")) is not None


def _tidy(text: str) -> str:
    lines = [line.rstrip() for line in text.splitlines()]
    tidy: list[str] = []
    for line in lines:
        if line or (tidy and tidy[-1]):
            tidy.append(line)
    return "\n".join(tidy).strip()
