"""PDF by PDFium: the text layer, page by page."""

from __future__ import annotations

import threading

import pypdfium2

from xingyue.errors import InvalidRequest
from xingyue_models.documents.extracted import DocumentLimits, Extracted, TextBuilder, no_text

_PASSWORD_ERROR = 4
"""``FPDF_ERR_PASSWORD`` of fpdfview.h."""
_LOCK = threading.Lock()
"""PDFium is not thread-safe: one document at a time in a process."""


def read_pdf(data: bytes, title: str, limits: DocumentLimits) -> Extracted:
    """Text of all pages, parted by a form feed; pages without a text layer are empty.

    ``InvalidRequest`` with code ``encrypted_document``, ``invalid_document`` or
    ``document_without_text``.
    """
    with _LOCK:
        document = _open(data)
        try:
            limits.check_pages(len(document))
            text = TextBuilder(limits)
            starts = []
            for index in range(len(document)):
                starts.append(text.length)
                text.add(_page_text(document, index) + "\f")
            named = (document.get_metadata_dict().get("Title") or "").strip()
        finally:
            document.close()
    whole = text.text()
    if not whole.strip():
        raise no_text(f"the PDF of {len(starts)} pages")
    return Extracted(whole, named or title, page_starts=tuple(starts))


def _open(data: bytes) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == _PASSWORD_ERROR:
            raise InvalidRequest(
                "the PDF is encrypted; remove its password and send it again",
                code="encrypted_document",
                param="file",
            ) from error
        raise InvalidRequest(
            f"the PDF cannot be read ({error}); send an undamaged file",
            code="invalid_document",
            param="file",
        ) from error


def _page_text(document: pypdfium2.PdfDocument, index: int) -> str:
    page = document[index]
    try:
        layer = page.get_textpage()
        try:
            raw: str = layer.get_text_range(errors="ignore")
        finally:
            layer.close()
    except pypdfium2.PdfiumError as error:
        raise InvalidRequest(
            f"page {index + 1} of the PDF cannot be read ({error}); send an undamaged file",
            code="invalid_document",
            param="file",
        ) from error
    finally:
        page.close()
    # U+FFFE is what PDFium gives for a hyphen at the end of a line.
    return raw.replace("\r\n", "\n").replace("\r", "\n").replace("\ufffe", "-").replace("\0", "")
