"""PDF, page by page."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pypdfium2 as pdfium

from ragents.errors import DocumentError
from ragents.rag.loaders.types import LoadedDocument
from ragents.rag.types import TextBlock

LOCK = threading.Lock()
"""PDFium is not safe to call from two threads at once, even on two documents."""
SOFT_HYPHEN = re.compile("[\ufffe\u0002\u00ad]\r?\n?")


def load_pdf(path: Path, uri: str) -> Iterator[LoadedDocument]:
    with LOCK:
        try:
            document = pdfium.PdfDocument(path)
        except pdfium.PdfiumError as error:
            reason = str(error)
            if "password" in reason.lower() or "security" in reason.lower():
                raise DocumentError(uri, "encrypted", "the PDF wants a password") from None
            raise DocumentError(uri, "damaged", f"PDFium cannot open it: {reason}") from None
        title = str(document.get_metadata_dict().get("Title") or "").strip()
    yield LoadedDocument(uri, title or path.stem, "pdf", _pages(document))


def _pages(document: pdfium.PdfDocument) -> Iterator[TextBlock]:
    try:
        for number in range(len(document)):
            with LOCK:
                page = document[number]
                text_page = page.get_textpage()
                text = text_page.get_text_range()
                text_page.close()
                page.close()
            yield TextBlock(SOFT_HYPHEN.sub("", text).replace("\r\n", "\n"), page=number + 1)
    finally:
        with LOCK:
            document.close()
