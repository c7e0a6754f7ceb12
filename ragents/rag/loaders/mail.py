"""Mails: headers as metadata, the body as text, attachments by name."""

from collections.abc import Iterator
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from pathlib import Path

from ragents.errors import DocumentError
from ragents.rag.loaders.html import html_to_markdown
from ragents.rag.loaders.text import decode
from ragents.rag.loaders.types import LoadedDocument
from ragents.rag.types import TextBlock

HEADERS = ("from", "to", "cc", "date")


def load_eml(path: Path, uri: str) -> Iterator[LoadedDocument]:
    data = path.read_bytes()
    if b"\0" in data[:64]:  # a mail is bytes without NUL; one that an editor saved as UTF-16 is turned back
        data = decode(data, uri).encode("utf-8", "replace")
    message = BytesParser(policy=default).parsebytes(data)
    if not isinstance(message, EmailMessage) or not message.keys():
        raise DocumentError(uri, "mislabelled", "there are no mail headers in it")
    if message.get_content_type() in ("multipart/encrypted", "application/pkcs7-mime"):
        raise DocumentError(uri, "encrypted", "the mail is encrypted")
    subject = _header(message, "subject")
    fields = {name: _header(message, name) for name in HEADERS if message.get(name)}
    names = [name for part in message.walk() if (name := part.get_filename())]
    lines = [f"# {subject or path.stem}", "", *(f"{name.title()}: {value}" for name, value in fields.items())]
    if names:
        lines.append(f"Attachments: {', '.join(names)}")
    text = "\n".join([*lines, "", _body(message)])
    yield LoadedDocument(uri, subject or path.stem, "eml", [TextBlock(text)], metadata=dict(fields))


def _body(message: EmailMessage) -> str:
    part = message.get_body(preferencelist=("plain", "html"))
    if part is None:
        return ""
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    if part.get_content_type() == "text/html":
        return html_to_markdown(data)[1]
    charset = part.get_content_charset() or "utf-8"
    try:
        return data.decode(charset, "replace")
    except LookupError:  # a charset that does not exist
        return data.decode("utf-8", "replace")


def _header(message: EmailMessage, name: str) -> str:
    return " ".join(str(message.get(name) or "").split())
