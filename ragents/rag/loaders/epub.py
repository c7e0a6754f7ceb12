"""EPUB: the chapters in the order of the spine (EPUB 3.3, section 5.7)."""

import posixpath
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from lxml import etree

from ragents.errors import DocumentError
from ragents.rag.loaders.html import html_to_markdown
from ragents.rag.loaders.types import LoadedDocument
from ragents.rag.types import TextBlock

CONTAINER = "META-INF/container.xml"
ENCRYPTION = "META-INF/encryption.xml"
CHAPTERS = ("application/xhtml+xml", "text/html")


def load_epub(path: Path, uri: str) -> Iterator[LoadedDocument]:
    archive = zipfile.ZipFile(path)
    if ENCRYPTION in archive.namelist() and b"xmlenc#aes" in archive.read(ENCRYPTION):
        raise DocumentError(uri, "encrypted", "the book is protected (DRM)")
    package_path = _parse(archive, CONTAINER).xpath("string(//*[local-name()='rootfile']/@full-path)")
    package = _parse(archive, str(package_path))
    title = str(package.xpath("string(//*[local-name()='metadata']/*[local-name()='title'])")).strip()
    yield LoadedDocument(uri, title or path.stem, "epub", _chapters(archive, package, str(package_path)))


def _chapters(archive: zipfile.ZipFile, package: etree._Element, package_path: str) -> Iterator[TextBlock]:
    items = {
        item.get("id"): item.get("href", "")
        for item in package.xpath("//*[local-name()='manifest']/*[local-name()='item']")
        if item.get("media-type") in CHAPTERS
    }
    names = set(archive.namelist())
    with archive:
        for reference in package.xpath("//*[local-name()='spine']/*[local-name()='itemref']/@idref"):
            name = posixpath.normpath(
                posixpath.join(posixpath.dirname(package_path), unquote(items.get(reference, "")))
            )
            if name in names and (text := html_to_markdown(archive.read(name))[1]):
                yield TextBlock(text)


def _parse(archive: zipfile.ZipFile, name: str) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    return etree.fromstring(archive.read(name), parser)
