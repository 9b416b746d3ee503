"""Reading documents: what each format gives, and what is refused in which words."""

from __future__ import annotations

import pytest

from xingyue.errors import InvalidRequest, PayloadTooLarge, UnsupportedMedia
from xingyue_models.documents.extracted import DocumentLimits
from xingyue_models.documents.reading import read

LIMITS = DocumentLimits()


def pdf(pages: list[str], trailer: str = "") -> bytes:
    """A PDF 1.4 with a line of Helvetica on each page."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, words in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 700 Td ({words}) Tj ET" if words else ""
        objects += [
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] "
            f"/Contents {5 + 2 * number} 0 R /Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    end = f"trailer\n<< /Size {size} /Root 1 0 R {trailer} >>\nstartxref\n{len(out)}\n%%EOF\n"
    return out + f"xref\n0 {size}\n0000000000 65535 f \n{table}{end}".encode()


ENCRYPTED = pdf(
    ["secret"],
    f"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <{'41' * 32}> /U <{'42' * 32}> >> "
    f"/ID [<{'43' * 16}> <{'43' * 16}>]",
)


def test_a_pdf_gives_text_and_page_starts() -> None:
    document = read(pdf(["Store at 2 to 8 C.", "Shelf life 24 months."]), "a.pdf", None, LIMITS)
    assert document.pages == 2
    first, second = document.page_starts
    assert document.text[first:].startswith("Store at 2 to 8 C.")
    assert document.text[second:].startswith("Shelf life 24 months.")


def test_xml_gives_blocks_and_headings() -> None:
    data = "<document><title>本品</title><text>贮藏：<b>2</b>至8℃。</text></document>".encode()
    document = read(data, "label.xml", None, LIMITS)
    assert "贮藏：2至8℃。" in document.text
    assert document.title == "本品"
    assert document.headings[0][1] == "本品"


def test_html_leaves_scripts_out() -> None:
    page = b"<h1>Notice</h1><script>steal()</script><p>Recall of lot 7.</p>"
    document = read(page, "a.html", None, LIMITS)
    assert "Recall of lot 7." in document.text
    assert "steal" not in document.text


def test_text_loses_its_mark_and_keeps_its_offsets() -> None:
    document = read(b"\xef\xbb\xbfone\r\ntwo", "a.txt", None, LIMITS)
    assert document.text == "one\ntwo"
    assert document.pages is None


def test_the_media_type_decides_where_the_name_says_nothing() -> None:
    assert read(b"# A\ntext", "a", "text/markdown; charset=utf-8", LIMITS).is_markdown


@pytest.mark.parametrize(
    ("data", "name", "kind", "code", "words"),
    [
        pytest.param(ENCRYPTED, "a.pdf", InvalidRequest, "encrypted_document", "password",
                     id="encrypted"),
        pytest.param(pdf([""]), "a.pdf", InvalidRequest, "document_without_text", "scan",
                     id="scan"),
        pytest.param(b"%PDF-1.4\nrubbish", "a.pdf", InvalidRequest, "invalid_document", "PDF",
                     id="damaged"),
        pytest.param(b"hello", "a.pdf", InvalidRequest, "invalid_document", "%PDF-",
                     id="only-named-pdf"),
        pytest.param("药品应冷藏".encode("gb18030"), "a.txt", InvalidRequest, "text_not_utf8",
                     "GB18030", id="gb18030"),
        pytest.param("a".encode("utf-16"), "a.txt", InvalidRequest, "text_not_utf8", "UTF-16",
                     id="utf-16"),
        pytest.param(b" \n ", "a.txt", InvalidRequest, "document_without_text", "no text",
                     id="blank"),
        pytest.param(b"PK\x03\x04zip", "a.docx", UnsupportedMedia, "unsupported_media_type",
                     "Office", id="office"),
        pytest.param(b"x", "a.exe", UnsupportedMedia, "unsupported_media_type", "a.exe",
                     id="unknown"),
        pytest.param(b"\0\1" * 200, "a.txt", UnsupportedMedia, "unsupported_media_type", "binary",
                     id="binary"),
        pytest.param(b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "a.xml", InvalidRequest,
                     "unsafe_xml", "entities", id="entities"),
        pytest.param(b"<a><b></a>", "a.xml", InvalidRequest, "invalid_document", "well formed",
                     id="broken-xml"),
        pytest.param(b"<a>" * 400 + b"x" + b"</a>" * 400, "a.xml", InvalidRequest,
                     "invalid_document", "nested", id="deep-xml"),
    ],
)  # fmt: skip
def test_refusals(
    data: bytes, name: str, kind: type[InvalidRequest], code: str, words: str
) -> None:
    with pytest.raises(kind, match=words) as refused:
        read(data, name, None, LIMITS)
    assert refused.value.code == code
    assert refused.value.param == "file"


@pytest.mark.parametrize(
    ("limits", "data", "name"),
    [
        pytest.param(DocumentLimits(bytes_max=3), b"four", "a.txt", id="bytes"),
        pytest.param(DocumentLimits(characters_max=3), b"four", "a.txt", id="characters"),
        pytest.param(DocumentLimits(pages_max=1), pdf(["a", "b"]), "a.pdf", id="pages"),
    ],
)
def test_limits(limits: DocumentLimits, data: bytes, name: str) -> None:
    with pytest.raises(PayloadTooLarge, match=r"limit|more than"):
        read(data, name, None, limits)
