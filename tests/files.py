"""Small files of every format, made by the libraries that others make them with."""

import io
import zipfile
from email.message import EmailMessage
from pathlib import Path

import docx
import odfdo
import openpyxl
import pptx
from docx.enum.text import WD_BREAK

SENTENCE = "The quick brown fox jumps over the lazy dog"


def make_pdf(path: Path, pages: list[str], *, password: bool = False) -> Path:
    """A minimal PDF (ISO 32000-1) with one line of text per page; `password` puts an Encrypt dictionary into it."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{3 + 2 * n} 0 R" for n in range(len(pages)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>")
    font = 3 + 2 * len(pages)
    for n, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {4 + 2 * n} 0 R "
            f"/Resources << /Font << /F1 {font} 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    objects.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    encrypt = ""
    if password:
        key = "00" * 32
        objects.append(f"<< /Filter /Standard /V 1 /R 2 /O <{key}> /U <{key}> /P -4 >>")
        encrypt = f"/Encrypt {len(objects)} 0 R /ID [<00> <00>]"
    out = io.BytesIO(b"%PDF-1.4\n")
    out.seek(0, io.SEEK_END)
    offsets = []
    for number, content in enumerate(objects, start=1):
        offsets.append(out.tell())
        out.write(f"{number} 0 obj\n{content}\nendobj\n".encode("latin-1"))
    start = out.tell()
    out.write(f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode())
    out.write("".join(f"{offset:010} 00000 n \n" for offset in offsets).encode())
    out.write(f"trailer << /Size {len(objects) + 1} /Root 1 0 R {encrypt} >>\nstartxref\n{start}\n%%EOF".encode())
    path.write_bytes(out.getvalue())
    return path


def make_docx(path: Path) -> Path:
    document = docx.Document()
    document.add_heading("Handbook", 1)
    document.add_paragraph(f"{SENTENCE} on page one.")
    document.add_paragraph().add_run().add_break(WD_BREAK.PAGE)
    document.add_heading("Leave", 2)
    document.add_paragraph("Thirty days of leave on page two.")
    table = document.add_table(rows=2, cols=2)
    for row, values in zip(table.rows, (("Name", "Days"), ("Ada", "30")), strict=True):
        for cell, value in zip(row.cells, values, strict=True):
            cell.text = value
    document.save(str(path))
    return path


def make_pptx(path: Path) -> Path:
    presentation = pptx.Presentation()
    for title, text in (("Opening", "Welcome everybody to the show"), ("Numbers", "Revenue grew by nine percent")):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = text
    slide.notes_slide.notes_text_frame.text = "Say it slowly"
    presentation.save(str(path))
    return path


def make_xlsx(path: Path) -> Path:
    book = openpyxl.Workbook()
    book.active.title = "Cities"
    for row in (("City", "People"), ("Paris", 2_100_000), ("Rome", 2_800_000)):
        book.active.append(row)
    book.create_sheet("Empty")
    book.create_sheet("Rivers").append(("Seine", 777))
    book.save(path)
    return path


def make_odt(path: Path) -> Path:
    document = odfdo.Document("text")
    document.body.clear()
    document.body.append(odfdo.Header(1, "Charter"))
    document.body.append(odfdo.Paragraph(f"{SENTENCE}."))
    document.save(str(path))
    return path


def make_eml(path: Path) -> Path:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Lunch on Friday", "ada@example.org", "bob@example.org"
    message.set_content("Shall we meet at noon?")
    message.add_attachment(b"x", maintype="application", subtype="pdf", filename="menu.pdf")
    path.write_bytes(message.as_bytes())
    return path


def make_epub(path: Path, *, encrypted: bool = False) -> Path:
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("mimetype", "application/epub+zip")
        book.writestr(
            "META-INF/container.xml", '<container><rootfiles><rootfile full-path="o/b.opf"/></rootfiles></container>'
        )
        book.writestr(
            "o/b.opf",
            '<package><metadata><title>The Book</title></metadata><manifest><item id="a" href="a.xhtml" '
            'media-type="application/xhtml+xml"/><item id="b" href="b%20b.xhtml" media-type="application/xhtml+xml"/>'
            '</manifest><spine><itemref idref="b"/><itemref idref="a"/></spine></package>',
        )
        book.writestr("o/a.xhtml", "<html><body><h1>Second</h1><p>The end of it all.</p></body></html>")
        book.writestr("o/b b.xhtml", "<html><body><h1>First</h1><p>It was a dark night.</p></body></html>")
        if encrypted:
            book.writestr("META-INF/encryption.xml", "<e xmlns='http://www.w3.org/2001/04/xmlenc#aes256-cbc'/>")
    return path
