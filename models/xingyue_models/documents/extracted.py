"""What reading a document gives: its text, which all character offsets refer to."""

from __future__ import annotations

from dataclasses import dataclass, field

from xingyue.errors import InvalidRequest, PayloadTooLarge


@dataclass(frozen=True, slots=True)
class Extracted:
    """``page_starts``: where each page begins in ``text`` (empty: the format has no pages).

    ``headings``: (where it begins, its words), in order.
    """

    text: str
    title: str
    page_starts: tuple[int, ...] = ()
    headings: tuple[tuple[int, str], ...] = ()
    is_markdown: bool = False

    @property
    def pages(self) -> int | None:
        return len(self.page_starts) or None


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """What is refused before it costs anything. Bytes of the file, pages of a PDF, characters."""

    bytes_max: int = 32 * 1024 * 1024
    pages_max: int = 2000
    characters_max: int = 5_000_000

    def check_bytes(self, count: int) -> None:
        if count > self.bytes_max:
            raise PayloadTooLarge(
                f"the document has {count} bytes; the limit is {self.bytes_max}; split it",
                param="file",
            )

    def check_pages(self, count: int) -> None:
        if count > self.pages_max:
            raise PayloadTooLarge(
                f"the document has {count} pages; the limit is {self.pages_max}; split it",
                param="file",
            )

    def check_characters(self, count: int) -> None:
        if count > self.characters_max:
            raise PayloadTooLarge(
                f"the document's text has more than {self.characters_max} characters; split it",
                param="file",
            )


@dataclass(slots=True)
class TextBuilder:
    """Collects text within the limit and knows the offset of what comes next."""

    limits: DocumentLimits
    parts: list[str] = field(default_factory=list)
    length: int = 0

    def add(self, text: str) -> None:
        self.parts.append(text)
        self.length += len(text)
        self.limits.check_characters(self.length)

    def text(self) -> str:
        return "".join(self.parts)


def no_text(what: str) -> InvalidRequest:
    return InvalidRequest(
        f"{what} holds no text that can be read; if it is a scan, run optical character "
        "recognition on it first and send a PDF with a text layer, or the text itself",
        code="document_without_text",
        param="file",
    )
