"""XML (FDA structured product labels among it) and HTML: text by block, headings kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from xingyue.errors import InvalidRequest
from xingyue_models.documents.extracted import DocumentLimits, Extracted, TextBuilder, no_text

_BLANK = re.compile(r"\s+")
_BLOCK_NAMES = (
    "address article blockquote br dd div dl dt fieldset figure footer form h1 h2 h3 h4 h5 h6 "
    "header hr item li list main nav ol p paragraph pre section table td text th thead tbody tr "
    "ul title caption component document structuredbody"
)
_BLOCKS = frozenset(_BLOCK_NAMES.split())
_HEADINGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6", "title", "caption"])
_SILENT = frozenset(["script", "style", "template", "noscript"])
_DEPTH_MAX = 300


class _Blocks:
    """Lines of text; white space inside a block is folded, blocks are parted by a line break."""

    def __init__(self, limits: DocumentLimits) -> None:
        self._text = TextBuilder(limits)
        self._line: list[str] = []
        self.headings: list[tuple[int, str]] = []

    def add(self, text: str) -> None:
        self._line.append(text)

    def end_block(self, heading: bool = False) -> None:
        line = _BLANK.sub(" ", "".join(self._line)).strip()
        self._line = []
        if not line:
            return
        if heading:
            self.headings.append((self._text.length, line))
        self._text.add(line + ("\n\n" if heading else "\n"))

    def finish(self, title: str, what: str) -> Extracted:
        self.end_block()
        text = self._text.text()
        if not text.strip():
            raise no_text(what)
        named = self.headings[0][1] if self.headings else title
        return Extracted(text, named, headings=tuple(self.headings))


def read_xml(data: bytes, title: str, limits: DocumentLimits) -> Extracted:
    """Text of an XML document. ``InvalidRequest`` with code ``unsafe_xml`` for entities or an
    outside DTD, ``invalid_document`` where it is not well formed."""
    try:
        root: Element = fromstring(data, forbid_dtd=False, forbid_entities=True)
    except DefusedXmlException as error:
        raise InvalidRequest(
            "the XML declares entities or refers to outside files, which is refused; send it "
            "without a document type declaration",
            code="unsafe_xml",
            param="file",
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        raise InvalidRequest(
            f"the XML is not well formed ({error}); send a valid file",
            code="invalid_document",
            param="file",
        ) from error
    blocks = _Blocks(limits)
    _walk(root, blocks, 0)
    return blocks.finish(title, "the XML document")


def _walk(element: Element, blocks: _Blocks, depth: int) -> None:
    if depth > _DEPTH_MAX:
        raise InvalidRequest(
            f"the XML is nested deeper than {_DEPTH_MAX} elements; send a flatter file",
            code="invalid_document",
            param="file",
        )
    name = _local(element)
    if name in _BLOCKS:
        blocks.end_block()
    blocks.add(element.text or "")
    for child in _children(element):
        _walk(child, blocks, depth + 1)
        blocks.add(child.tail or "")
    if name in _BLOCKS:
        blocks.end_block(heading=name in _HEADINGS)


def _children(element: Element) -> Iterator[Element]:
    return (child for child in element if isinstance(child.tag, str))


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2].lower()


class _HtmlBlocks(HTMLParser):
    def __init__(self, blocks: _Blocks) -> None:
        super().__init__(convert_charrefs=True)
        self._blocks = blocks
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in _SILENT
        if tag in _BLOCKS:
            self._blocks.end_block()

    def handle_endtag(self, tag: str) -> None:
        self._silent = max(0, self._silent - (tag in _SILENT))
        if tag in _BLOCKS:
            self._blocks.end_block(heading=tag in _HEADINGS)

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._blocks.add(data)


def read_html(text: str, title: str, limits: DocumentLimits) -> Extracted:
    """Visible text of an HTML page; scripts and styles are left out."""
    blocks = _Blocks(limits)
    parser = _HtmlBlocks(blocks)
    parser.feed(text)
    parser.close()
    return blocks.finish(title, "the HTML page")
