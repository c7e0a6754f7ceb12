"""Word, PowerPoint, Excel and OpenDocument text."""

import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import docx
import odfdo
import openpyxl
import pptx
from docx.table import Table
from docx.text.paragraph import Paragraph

from ragents.rag.loaders.text import first_heading, table_lines
from ragents.rag.loaders.types import LoadedDocument
from ragents.rag.types import TextBlock

HEADING_STYLE = re.compile(r"^heading (\d)", re.IGNORECASE)
PAGES = re.compile(rb"<Pages>(\d+)</Pages>")
MAX_PAGE_CHARACTERS = 4_000
PAGE_BREAK = './/w:br[@w:type="page"]'


def load_docx(path: Path, uri: str) -> Iterator[LoadedDocument]:
    document = docx.Document(str(path))
    blocks = _docx_blocks(document, path)
    title = (document.core_properties.title or "").strip()
    yield LoadedDocument(uri, title or first_heading(blocks[0].text if blocks else "") or path.stem, "docx", blocks)


def load_pptx(path: Path, uri: str) -> Iterator[LoadedDocument]:
    presentation = pptx.Presentation(str(path))
    title = (presentation.core_properties.title or "").strip()
    slides = [TextBlock("\n\n".join(_slide(slide)), page=n) for n, slide in enumerate(presentation.slides, start=1)]
    generic = title.lower() in ("", "powerpoint presentation")
    heading = first_heading(slides[0].text) if slides else None
    yield LoadedDocument(uri, heading or path.stem if generic else title, "pptx", slides)


def load_xlsx(path: Path, uri: str) -> Iterator[LoadedDocument]:
    """Rows are read as a stream; the sheet's number is the page."""
    yield LoadedDocument(uri, path.stem, "xlsx", _sheets(path))


def load_odt(path: Path, uri: str) -> Iterator[LoadedDocument]:
    body = odfdo.Document(str(path)).body
    text = "\n\n".join(_odt_blocks(body))
    yield LoadedDocument(uri, first_heading(text) or path.stem, "odt", [TextBlock(text)])


def _docx_blocks(document: Any, path: Path) -> list[TextBlock]:
    """One block per page, as Word recorded its page breaks at the last save.

    Without a record the author's own breaks count, if what lies between them can be a page; else pages are unknown: a
    wrong page is worse than none.
    """
    recorded = bool(document.element.body.xpath(".//w:lastRenderedPageBreak"))
    explicit = not recorded and bool(document.element.body.xpath(PAGE_BREAK))
    page: int | None = 1 if recorded or explicit or _page_count(path) == 1 else None
    pages: list[tuple[int | None, list[str]]] = [(page, [])]
    for item in document.iter_inner_content():
        before, after = _breaks(item, recorded=recorded) if page is not None else (0, 0)
        if before and page is not None:
            page += before
            pages.append((page, []))
        if text := _docx_item(item):
            pages[-1][1].append(text)
        if after and page is not None:
            page += after
            pages.append((page, []))
    if not recorded and any(sum(map(len, texts)) > MAX_PAGE_CHARACTERS for _, texts in pages):
        return [TextBlock("\n\n".join(text for _, texts in pages for text in texts))]
    return [TextBlock("\n\n".join(texts), number) for number, texts in pages if texts]


def _breaks(item: Paragraph | Table, *, recorded: bool) -> tuple[int, int]:
    """Page breaks before the item's first text, and after it began. A table that spans pages stands on its first."""
    if isinstance(item, Table):
        return 0, len(item._tbl.xpath(".//w:lastRenderedPageBreak" if recorded else PAGE_BREAK))
    marks = item._p.xpath(".//w:lastRenderedPageBreak" if recorded else PAGE_BREAK)
    texts = item._p.xpath(".//w:t")
    first = texts[0] if texts else None
    order = list(item._p.iter())
    leading = order.index(first) if first is not None else len(order)
    before = sum(1 for mark in marks if order.index(mark) < leading)
    return before, len(marks) - before


def _docx_item(item: Paragraph | Table) -> str:
    if isinstance(item, Table):
        return "\n".join(table_lines(_docx_rows(item)))
    text = item.text.strip()
    style = (item.style.name or "") if item.style is not None else ""
    if not text:
        return ""
    if (heading := HEADING_STYLE.match(style)) is not None:
        return f"{'#' * min(int(heading[1]), 6)} {' '.join(text.split())}"
    if style == "Title":
        return f"# {' '.join(text.split())}"
    return f"- {text}" if style.startswith("List") else text


def _docx_rows(table: Table) -> Iterator[list[str]]:
    for row in table.rows:
        # The cells as they are written: `row.cells` lists a merged one once per column, and fails on uneven grids.
        yield ["".join(text.text or "" for text in cell.xpath(".//w:t")) for cell in row._tr.tc_lst]


def _page_count(path: Path) -> int | None:
    try:
        with zipfile.ZipFile(path) as archive:
            found = PAGES.search(archive.read("docProps/app.xml")[:100_000])
    except (KeyError, zipfile.BadZipFile):
        return None
    return int(found[1]) if found else None


def _slide(slide: Any) -> Iterator[str]:
    title = slide.shapes.title
    if title is not None and title.text_frame.text.strip():
        yield f"# {' '.join(title.text_frame.text.split())}"
    yield from _shapes(slide.shapes, skip=title)
    if slide.has_notes_slide and (frame := slide.notes_slide.notes_text_frame) is not None and frame.text.strip():
        yield f"Notes: {frame.text.strip()}"


def _shapes(shapes: Iterable[Any], *, skip: Any = None) -> Iterator[str]:
    for shape in shapes:
        if skip is not None and shape.shape_id == skip.shape_id:
            continue
        if hasattr(shape, "shapes"):  # a group
            yield from _shapes(shape.shapes)
        elif getattr(shape, "has_table", False):
            yield "\n".join(table_lines([cell.text for cell in row.cells] for row in shape.table.rows))
        elif shape.has_text_frame and shape.text_frame.text.strip():
            yield "\n".join(p.text.strip() for p in shape.text_frame.paragraphs if p.text.strip())


def _sheets(path: Path) -> Iterator[TextBlock]:
    workbook = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        for number, sheet in enumerate(workbook.worksheets, start=1):
            lines = list(table_lines(sheet.iter_rows(values_only=True)))
            if lines:
                yield TextBlock("\n".join([f"# {sheet.title}", "", *lines]), page=number)
    finally:
        workbook.close()


def _odt_blocks(element: Any) -> Iterator[str]:
    for child in element.children:
        text = " ".join((child.text_recursive or "").split())
        match child.tag:
            case "text:h":
                level = int(child.get_attribute("text:outline-level") or 1)
                yield f"{'#' * min(level, 6)} {text}"
            case "text:p":
                if text:
                    yield text
            case "text:list":
                yield "\n".join(f"- {' '.join((i.text_recursive or '').split())}" for i in child.children)
            case "table:table":
                yield "\n".join(table_lines(iter(child.get_values())))
            case "text:tracked-changes" | "office:forms" | "text:sequence-decls":
                continue
            case _:
                yield from _odt_blocks(child)
