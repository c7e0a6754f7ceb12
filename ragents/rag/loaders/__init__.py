"""Files to text: one document at a time, bounded in memory; what cannot be taken is named with the reason."""

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import filetype

from ragents.errors import DocumentError
from ragents.rag.loaders.epub import load_epub
from ragents.rag.loaders.html import load_html
from ragents.rag.loaders.mail import load_eml
from ragents.rag.loaders.office import load_docx, load_odt, load_pptx, load_xlsx
from ragents.rag.loaders.pdf import load_pdf
from ragents.rag.loaders.text import load_csv, load_jsonl, load_markdown, load_rst, load_text
from ragents.rag.loaders.types import LoadedDocument, LoadLimits
from ragents.rag.types import TextBlock

__all__ = ["FORMATS", "LoadLimits", "LoadedDocument", "load"]

Loader = Callable[[Path, str], Iterator[LoadedDocument] | Iterator[LoadedDocument | DocumentError]]

FORMATS: dict[str, Loader] = {
    ".csv": load_csv,
    ".docx": load_docx,
    ".eml": load_eml,
    ".epub": load_epub,
    ".htm": load_html,
    ".html": load_html,
    ".jsonl": load_jsonl,
    ".markdown": load_markdown,
    ".md": load_markdown,
    ".odt": load_odt,
    ".pdf": load_pdf,
    ".pptx": load_pptx,
    ".rst": load_rst,
    ".text": load_text,
    ".txt": load_text,
    ".xlsx": load_xlsx,
}
"""Extension -> loader. Its keys are what `ragents ingest` takes."""

ZIPPED = frozenset({".docx", ".epub", ".odt", ".pptx", ".xlsx"})
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
HEAD_BYTES = 8192
MEGABYTE = 1024 * 1024


def load(path: Path, *, uri: str, limits: LoadLimits) -> Iterator[LoadedDocument | DocumentError]:
    """The documents of one file (one, but for .jsonl), made while they are read. Blocking.

    Raises DocumentError, also while the blocks are read, and nothing else for a bad file. One that is yielded is about
    one document of a file that holds many.
    """
    try:
        suffix = path.suffix.lower()
        if suffix not in FORMATS:
            raise DocumentError(uri, "unsupported", f"no loader for {suffix or 'files without extension'}")
        _check(path, suffix, uri, limits)
        for document in FORMATS[suffix](path, uri):
            yield document if isinstance(document, DocumentError) else _within(document, limits)
    except DocumentError:
        raise
    except Exception as error:  # a parser's surprise, whatever it is, is news about this file
        raise _translated(uri, error) from error


def _within(document: LoadedDocument, limits: LoadLimits) -> LoadedDocument:
    return replace(document, blocks=_checked(document, limits))


def _checked(document: LoadedDocument, limits: LoadLimits) -> Iterator[TextBlock]:
    """The blocks with text, within the limit; DocumentError when there are none."""
    characters = 0
    try:
        for block in document.blocks:
            characters += len(block.text.strip())
            if characters > limits.max_text_characters:
                raise DocumentError(
                    document.uri, "too_large", f"more than {limits.max_text_characters} characters of text"
                )
            if block.text.strip():
                # A lone surrogate (JSON can spell one) is no text that a splitter or a database takes.
                yield replace(block, text=block.text.encode("utf-8", "replace").decode("utf-8"))
    except DocumentError:
        raise
    except Exception as error:  # as above: blocks are made while they are read
        raise _translated(document.uri, error) from error
    if characters == 0:
        scanned = " (a scan without a text layer?)" if document.format == "pdf" else ""
        raise DocumentError(document.uri, "empty", f"there is no text in it{scanned}")


def _translated(uri: str, error: Exception) -> DocumentError:
    match error:
        case PermissionError() | FileNotFoundError() | IsADirectoryError():
            return DocumentError(uri, "unreadable", error.strerror or str(error))
        case MemoryError():
            return DocumentError(uri, "too_large", "it does not fit into memory")
        case RuntimeError() if "password required" in str(error):
            return DocumentError(uri, "encrypted", "the archive wants a password")
        case _:
            return DocumentError(uri, "damaged", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def _check(path: Path, suffix: str, uri: str, limits: LoadLimits) -> None:
    size = path.stat().st_size
    if size == 0:
        raise DocumentError(uri, "empty", "the file has no content")
    if size > limits.max_file_mb * MEGABYTE:
        raise DocumentError(uri, "too_large", f"{size / MEGABYTE:.0f} MB, at most {limits.max_file_mb:g} are taken")
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if suffix in ZIPPED:
        _check_archive(path, suffix, uri, head, limits)
    elif suffix == ".pdf":
        if b"%PDF" not in head[:1024]:
            raise DocumentError(uri, "mislabelled", f"named .pdf, but the content is {_kind(head)}")
    # Two bytes are enough for filetype to see a bmp in "BM25 ranks", so only binary content is asked about.
    elif (
        not _is_text(head)
        and (kind := filetype.guess(head)) is not None
        and kind.extension not in ("eml", "html", "xml", "txt")
    ):
        raise DocumentError(uri, "mislabelled", f"named {suffix}, but the content is {kind.extension}")


def _check_archive(path: Path, suffix: str, uri: str, head: bytes, limits: LoadLimits) -> None:
    if head.startswith(OLE):
        # Office puts a document with a password into an OLE container; the old formats are OLE as well.
        if b"E\0n\0c\0r\0y\0p\0t\0e\0d\0P\0a\0c\0k\0a\0g\0e" in path.read_bytes():
            raise DocumentError(uri, "encrypted", "the document wants a password")
        raise DocumentError(
            uri, "mislabelled", f"named {suffix}, but the content is an old Office format; save it anew"
        )
    if not head.startswith(b"PK"):
        raise DocumentError(uri, "mislabelled", f"named {suffix}, but the content is {_kind(head)}")
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(item.file_size for item in archive.infolist())
        # Per member: padding beside a bomb would hide it in the sum.
        ratio = max(
            (i.file_size / max(i.compress_size, 1) for i in archive.infolist() if i.file_size > MEGABYTE), default=0
        )
        if any(item.flag_bits & 1 for item in archive.infolist()):
            raise DocumentError(uri, "encrypted", "the archive wants a password")
    if unpacked > limits.max_unzipped_mb * MEGABYTE:
        raise DocumentError(
            uri, "too_large", f"{unpacked / MEGABYTE:.0f} MB unpacked, at most {limits.max_unzipped_mb:g}"
        )
    if ratio > limits.max_zip_ratio:
        raise DocumentError(uri, "too_large", f"unpacks to {ratio:.0f} times its size: a zip bomb?")


def _is_text(head: bytes) -> bool:
    """UTF-8 without NUL; the last character may be cut."""
    try:
        head[:-4].decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\0" not in head and not head.startswith(b"%PDF")


def _kind(head: bytes) -> str:
    kind = filetype.guess(head)
    if kind is not None:
        return str(kind.extension)
    return "text" if b"\0" not in head else "unknown binary data"
