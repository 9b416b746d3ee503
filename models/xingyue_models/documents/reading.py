"""Bytes of a document to its text, by what the bytes are, then by media type and file name."""

from __future__ import annotations

from pathlib import PurePath

from xingyue.errors import InvalidRequest, UnsupportedMedia
from xingyue_models.documents.extracted import DocumentLimits, Extracted, no_text
from xingyue_models.documents.markup import read_html, read_xml
from xingyue_models.documents.pdf import read_pdf

TAKEN = "PDF, Markdown, plain text (UTF-8), XML and HTML"
_BY_MEDIA_TYPE = {
    "application/pdf": "pdf",
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "text/plain": "text",
    "application/xml": "xml",
    "text/xml": "xml",
    "text/html": "html",
    "application/xhtml+xml": "html",
}
_BY_SUFFIX = {
    ".pdf": "pdf",
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".text": "text",
    ".xml": "xml",
    ".html": "html",
    ".htm": "html",
}
_BINARY = {
    b"PK\x03\x04": "a ZIP or an Office document",
    b"\xd0\xcf\x11\xe0": "an old Office document",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"{\\rtf": "a rich text document",
    b"\x1f\x8b": "a gzip archive",
}
_MANY = 50


def read(data: bytes, filename: str, media_type: str | None, limits: DocumentLimits) -> Extracted:
    """The document's text with pages and headings.

    ``UnsupportedMedia`` for another kind of file; ``PayloadTooLarge`` over a limit;
    ``InvalidRequest`` with code ``encrypted_document``, ``document_without_text``,
    ``text_not_utf8``, ``unsafe_xml`` or ``invalid_document``.
    """
    limits.check_bytes(len(data))
    kind = _kind(data, filename, media_type)
    title = PurePath(filename).stem
    if kind == "pdf":
        return read_pdf(data, title, limits)
    if kind == "xml":
        return read_xml(data, title, limits)
    text = _utf8(data)
    if kind == "html":
        return read_html(text, title, limits)
    limits.check_characters(len(text))
    if not text.strip():
        raise no_text("the document")
    return Extracted(text, title, is_markdown=kind == "markdown")


def _kind(data: bytes, filename: str, media_type: str | None) -> str:
    if data[:1024].lstrip().startswith(b"%PDF-"):
        return "pdf"
    for magic, name in _BINARY.items():
        if data.startswith(magic):
            raise UnsupportedMedia(f"the file is {name}; {TAKEN} are taken", param="file")
    suffix = PurePath(filename).suffix.lower()
    essence = (media_type or "").partition(";")[0].strip().lower()
    kind = _BY_SUFFIX.get(suffix) or _BY_MEDIA_TYPE.get(essence)
    if kind is None:
        raise UnsupportedMedia(
            f"a document named {filename[:80]!r} of type {essence or 'unknown'!r} cannot be read; "
            f"{TAKEN} are taken",
            param="file",
        )
    if kind == "pdf":
        raise InvalidRequest(
            "the file is named a PDF but does not begin as one (%PDF-); send the original file",
            code="invalid_document",
            param="file",
        )
    return kind


def _utf8(data: bytes) -> str:
    """Text of strict UTF-8, with or without a byte order mark; line ends become ``\\n``."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"the text is not UTF-8 (byte {error.start}); {_encoding_hint(data)}",
            code="text_not_utf8",
            param="file",
        ) from error
    if text.count("\0") > len(text) // _MANY:
        raise UnsupportedMedia(f"the file is binary, not text; {TAKEN} are taken", param="file")
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")


def _encoding_hint(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it looks like UTF-16: save it as UTF-8 and send it again"
    return "save it as UTF-8 and send it again (from GB18030: iconv -f GB18030 -t UTF-8)"
