"""PDFs hold what the form says, in words that any viewer shows: the font is inside."""

from __future__ import annotations

import asyncio

import pypdfium2
import pytest

from xingyue.errors import InvalidRequest, Overloaded
from xingyue.statements import evidence, pdf
from xingyue.statements.earnings import earnings
from xingyue.statements.forms import digest
from xingyue.statements.layouts import LAYOUTS
from xingyue.statements.pdf import as_pdf
from xingyue.statements.press import PdfPress
from xingyue.statements.revenue import revenue
from xingyue.statements.tenant import statement
from xingyue.statements.words import WORDS, Language, value
from xingyue.units import format_cny


def text_of(content):
    document = pypdfium2.PdfDocument(content)
    pages = [page.get_textpage().get_text_range() for page in document]
    document.close()
    return pages


@pytest.fixture
def url(sqlite_url):
    """What is drawn does not depend on the database."""
    return sqlite_url


@pytest.fixture
def forms(history, catalog):
    return {
        "statement": statement(history.engine, "midea", "2026-11"),
        "earnings": earnings(history.engine, "vend", "2026-11"),
        "revenue": revenue(history.engine, catalog, 2026),
        "evidence": evidence.gather(history.engine, "2026-11", Language.ZH).form,
    }


@pytest.mark.parametrize("kind", list(LAYOUTS))
@pytest.mark.parametrize("language", list(Language))
def test_every_kind_in_both_languages(forms, kind, language):
    form = forms[kind]
    content = as_pdf(form, language)
    pages = text_of(content)
    whole = "\n".join(pages)
    for page in pages:
        assert digest(form) in page
    layout = LAYOUTS[kind]
    for name in layout.facts:
        words = WORDS[name][0 if language is Language.ZH else 1]
        assert words in whole, name
        if name.endswith("_micros"):
            assert format_cny(form[name]) in whole, name
    assert str(form["events"]) in whole
    # Embedded: nothing is left to the fonts of the reader's machine.
    assert b"/FontFile" in content
    assert content == as_pdf(form, language), "the same form gives the same file"


def test_the_chinese_words_of_a_statement(forms):
    whole = "\n".join(text_of(as_pdf(forms["statement"], Language.ZH)))
    for words in ("月度对账单", "美的洗衣机工厂", "期末余额", "现金", "人民币", "合计", "HF-v1"):
        assert words in whole
    assert "¥9.9974" in whole
    assert "算力券核销材料" in "\n".join(text_of(as_pdf(forms["evidence"], Language.ZH)))


def test_a_page_is_not_blank(forms):
    """As a viewer without Asian fonts shows it: ink where the title is."""
    document = pypdfium2.PdfDocument(as_pdf(forms["statement"], Language.ZH))
    picture = document[0].render(scale=2).to_numpy()
    document.close()
    title = picture[120:190, 80:330]
    assert (title.min(axis=2) < 120).mean() > 0.03


def test_a_long_table_says_what_it_leaves_out(forms, monkeypatch):
    monkeypatch.setattr(pdf, "ROWS_MAX", 1)
    whole = "\n".join(text_of(as_pdf(forms["statement"], Language.EN)))
    assert "The first 1 of 3 lines; the CSV and the JSON hold all." in whole
    # Totals are of all lines.
    assert whole.count(format_cny(3_200)) >= 2


def test_every_layout_has_its_words():
    for kind, layout in LAYOUTS.items():
        assert f"title_{kind}" in WORDS
        for name in (*layout.facts, *layout.notes, *(table.key for table in layout.tables)):
            assert name in WORDS, name
        for table in layout.tables:
            for name in table.columns:
                assert name in WORDS, name
    for chinese, english in WORDS.values():
        assert chinese
        assert english
    assert value("model", "cash", Language.ZH) == "cash"
    assert value("account", "cash", Language.ZH) == "现金"
    with pytest.raises(InvalidRequest):
        Language.parse("fr")


def test_the_press_makes_the_same_in_its_own_process(forms):
    async def scene():
        press = PdfPress()
        assert await press.print(forms["statement"], Language.EN) == as_pdf(
            forms["statement"], Language.EN
        )
        full = PdfPress(waiting_max=0)
        with pytest.raises(Overloaded):
            await full.print(forms["statement"], Language.EN)

    asyncio.run(scene())
