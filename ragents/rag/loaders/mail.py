"""Mails: headers as metadata, the body as text, then forwarded mails and attached texts; other attachments by name."""

from collections.abc import Iterator
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser
from email.policy import default
from itertools import islice
from pathlib import Path

from ragents.errors import DocumentError
from ragents.rag.loaders.html import html_to_markdown
from ragents.rag.loaders.text import decode
from ragents.rag.loaders.types import LoadedDocument
from ragents.rag.types import TextBlock

HEADERS = ("from", "to", "cc", "date")
MAX_ATTACHMENTS = 100


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
    text = "\n".join([*lines, "", _body(message), *_attached(message)])
    yield LoadedDocument(uri, subject or path.stem, "eml", [TextBlock(text)], metadata=dict(fields))


def _attached(message: MIMEPart) -> Iterator[str]:
    """Each under a heading of its own. A forwarded mail is a part whose payload is a message."""
    for part in islice(message.iter_attachments(), MAX_ATTACHMENTS):
        name = part.get_filename() or ""
        if part.get_content_type() == "message/rfc822":
            for inner in part.iter_parts():
                yield f"\n## {_header(inner, 'subject') or 'Forwarded mail'}\n"
                yield "\n".join(f"{field.title()}: {_header(inner, field)}" for field in HEADERS if inner.get(field))
                yield "\n" + _body(inner)
        elif part.get_content_maintype() == "text":
            yield f"\n## {name or 'Attachment'}\n\n{_text(part)}"


def _body(message: MIMEPart) -> str:
    part = message.get_body(preferencelist=("plain", "html"))
    return "" if part is None else _text(part)


def _text(part: MIMEPart) -> str:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    if part.get_content_type() == "text/html":
        return html_to_markdown(data)[1]
    charset = part.get_content_charset() or "utf-8"
    try:
        return data.decode(charset, "replace")
    except LookupError:  # a charset that does not exist
        return data.decode("utf-8", "replace")


def _header(message: MIMEPart, name: str) -> str:
    return " ".join(str(message.get(name) or "").split())
