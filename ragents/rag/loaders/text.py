"""Plain text, Markdown, reStructuredText, CSV and JSON lines."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from charset_normalizer import from_bytes
from docutils import nodes
from docutils.core import publish_doctree

from ragents.errors import DocumentError
from ragents.rag.loaders.types import LoadedDocument
from ragents.rag.types import Scalar, TextBlock

BOMS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
SAMPLE_BYTES = 200_000
FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n(?:---|\.\.\.)\s*(?:\n|\Z)", re.DOTALL)
HEADING = re.compile(r"^\s{0,3}#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
SPHINX_ROLE = re.compile(r":[A-Za-z][\w:+.-]*:`([^`<]*?)\s*(?:<([^`>]*)>)?`")
MAX_HEADER_COLUMNS = 60
CSV_FIELD_LIMIT = 10_000_000
CSV_SAMPLE = 8_192
"""Characters that the dialect is guessed from. The time goes up with its square where there are many quotes."""
RST_LINE_LIMIT = 1_000_000
"""docutils gives up the whole document for one longer line; its own limit is 10,000."""


def decode(data: bytes, uri: str) -> str:
    """By byte order mark, as UTF-8, else as charset-normalizer finds. DocumentError for what is no text."""
    for mark, encoding in BOMS:
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    if b"\0" not in data[:SAMPLE_BYTES]:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            pass
    matches = from_bytes(data[:SAMPLE_BYTES])
    best = matches.best()
    if best is None:
        raise DocumentError(uri, "mislabelled", "the content is binary, not text in any known encoding")
    # Among equally good ones the Western code page, which browsers assume too (WHATWG Encoding, 4.2).
    western = any(each.encoding == "cp1252" and each.chaos <= best.chaos for each in matches)
    return data.decode("cp1252" if western else best.encoding, "replace")


def load_text(path: Path, uri: str) -> Iterator[LoadedDocument]:
    yield LoadedDocument(uri, path.stem, "txt", [TextBlock(decode(path.read_bytes(), uri))])


def load_markdown(path: Path, uri: str) -> Iterator[LoadedDocument]:
    text = decode(path.read_bytes(), uri)
    title = None
    if (front := FRONT_MATTER.match(text)) is not None:
        title = _front_title(front[1])
        # A file that has nothing else says what it says there.
        text = text[front.end() :] if text[front.end() :].strip() else front[1]
    yield LoadedDocument(uri, title or first_heading(text) or path.stem, "md", [TextBlock(text)])


def load_rst(path: Path, uri: str) -> Iterator[LoadedDocument]:
    """Includes and raw directives stay closed: a document must not read other files."""
    source = SPHINX_ROLE.sub(lambda role: role[1] or role[2] or "", decode(path.read_bytes(), uri))
    tree = publish_doctree(
        source,
        settings_overrides={
            "file_insertion_enabled": False,
            "raw_enabled": False,
            "report_level": 5,
            "halt_level": 5,
            "warning_stream": io.StringIO(),
            "_disable_config": True,
            "doctitle_xform": False,
            "smart_quotes": False,
            "line_length_limit": RST_LINE_LIMIT,
            "traceback": True,  # else docutils ends the process for what it does not expect
        },
    )
    text = "\n\n".join(_rst_blocks(tree, 1))
    yield LoadedDocument(uri, first_heading(text) or path.stem, "rst", [TextBlock(text)])


def load_csv(path: Path, uri: str) -> Iterator[LoadedDocument]:
    text = decode(path.read_bytes(), uri)
    csv.field_size_limit(CSV_FIELD_LIMIT)
    try:
        dialect: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(text[:CSV_SAMPLE], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel
    rows = csv.reader(io.StringIO(text, newline=""), dialect)
    yield LoadedDocument(uri, path.stem, "csv", [TextBlock("\n".join(table_lines(rows)))])


def load_jsonl(path: Path, uri: str) -> Iterator[LoadedDocument | DocumentError]:
    """One document a line, as BEIR lays them out: `_id` or `id`, `title`, `text`, and flat `metadata`.

    A line that is none is named, and the lines after it are read.
    """
    seen: set[int] = set()  # hashes of names: the names themselves could be long
    with path.open("rb") as lines:
        for number, data in enumerate(lines, start=1):
            line = data.decode("utf-8-sig" if number == 1 else "utf-8", "replace")
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                text = record["text"]
            except (ValueError, RecursionError) as error:
                yield DocumentError(f"{uri}#{number}", "unsupported", f"line {number} is not JSON: {error}")
                continue
            except (LookupError, TypeError):
                detail = f'line {number} is not an object with "text"'
                yield DocumentError(f"{uri}#{number}", "unsupported", detail)
                continue
            name = str(record.get("_id", record.get("id", number)))
            if hash(name) in seen:
                yield DocumentError(f"{uri}#{name}", "unsupported", f"line {number} has the id of an earlier line")
                continue
            seen.add(hash(name))
            yield LoadedDocument(
                uri=f"{uri}#{name}",
                title=str(record.get("title") or ""),
                format="jsonl",
                blocks=[TextBlock(str(text))],
                metadata=_flat(record.get("metadata")),
                digest=hashlib.sha256(line.encode("utf-8", "replace")).hexdigest(),
            )


def table_lines(rows: Iterator[list[Any]] | Iterator[tuple[Any, ...]]) -> Iterator[str]:
    """A list item per row, each with its column names where the first row holds names: a chunk may begin at any row,
    and an answer quote one without the others.
    """
    header: list[str] | None = None
    for number, row in enumerate(rows):
        cells = ["" if cell is None else " ".join(str(cell).split()) for cell in row]
        if not any(cells):
            continue
        if header is None and number == 0 and _is_header(cells):
            header = cells
            yield " | ".join(cells)
        elif header is not None and len(cells) <= len(header):
            yield "- " + "; ".join(f"{name}: {cell}" for name, cell in zip(header, cells, strict=False) if cell)
        else:
            yield "- " + " | ".join(cell for cell in cells if cell)


def first_heading(text: str) -> str | None:
    found = HEADING.search(text[:20_000])
    return found[1].strip() or None if found else None


def _is_header(cells: list[str]) -> bool:
    """Different names, none of them a number, in every column."""
    named = all(cell and not cell.replace(".", "").replace("-", "").isdigit() and len(cell) < 60 for cell in cells)
    return named and 1 < len(cells) <= MAX_HEADER_COLUMNS and len(set(cells)) == len(cells)


def _front_title(block: str) -> str | None:
    try:
        values = yaml.safe_load(block)
    except (yaml.YAMLError, ValueError):  # ValueError: a date that does not exist
        return None
    title = values.get("title") if isinstance(values, dict) else None
    return str(title) if title else None


def _flat(metadata: object) -> dict[str, Scalar | None]:
    """Scalars only: what filters can compare."""
    if not isinstance(metadata, dict):
        return {}
    return {str(k): v for k, v in metadata.items() if v is None or isinstance(v, str | int | float | bool)}


def _rst_blocks(node: nodes.Node, level: int) -> Iterator[str]:
    for child in node.children:
        match child:
            case nodes.section():
                yield from _rst_blocks(child, level + 1)
            case nodes.title():
                yield f"{'#' * max(1, min(level - 1, 6))} {child.astext()}"
            case nodes.comment() | nodes.substitution_definition() | nodes.target():
                continue
            case nodes.system_message():
                # An unknown directive: its message is noise, its content is the document's.
                yield from (f"```\n{block.astext()}\n```" for block in child.findall(nodes.literal_block))
            case nodes.literal_block() | nodes.doctest_block():
                yield f"```\n{child.astext()}\n```"
            case nodes.bullet_list() | nodes.enumerated_list():
                yield "\n".join(f"- {' '.join(item.astext().split())}" for item in child.children)
            case nodes.table():
                yield "\n".join(_rst_row(row) for row in child.findall(nodes.row))
            case nodes.paragraph() | nodes.term() | nodes.rubric() | nodes.caption() | nodes.line_block():
                yield child.astext()
            case nodes.Element() if child.children:
                yield from _rst_blocks(child, level)
            case _:
                if text := child.astext().strip():
                    yield text


def _rst_row(row: nodes.Element) -> str:
    return " | ".join(" ".join(entry.astext().split()) for entry in row.findall(nodes.entry))
