"""F1 and exact match, Chinese and English; the split by article."""

from __future__ import annotations

from pathlib import Path

import pytest

from xingyue_adapters.document_qa.datasets import reading_sets
from xingyue_adapters.document_qa.pharma_sets import pharma_sets
from xingyue_adapters.document_qa.split import FIT, REPORT, side
from xingyue_adapters.document_qa.text_metrics import exact, f1, share_of

SHARED = Path(__file__).parents[4] / "shared" / "data"


@pytest.mark.parametrize(
    ("said", "answers", "is_chinese", "expected", "same"),
    [
        pytest.param("The Arctic.", ["Arctic"], False, 1.0, True, id="article-and-stop"),
        pytest.param("North Africa", ["North and West Africa"], False, 2 / 3, False, id="partly"),
        pytest.param("《前途》", ["前途"], True, 1.0, True, id="marks"),
        pytest.param("二十四个月", ["24个月"], True, 0.5, False, id="characters"),
        pytest.param("24个月", ["２４个月"], True, 1.0, True, id="full-width"),
        pytest.param("", ["x"], False, 0.0, False, id="nothing-said"),
        pytest.param("b", ["a1", "b"], False, 1.0, True, id="best-of-several"),
    ],
)
def test_f1_and_exact_match(
    said: str, answers: list[str], is_chinese: bool, expected: float, same: bool
) -> None:
    assert f1(said, answers, is_chinese) == pytest.approx(expected)
    assert exact(said, answers, is_chinese) is same


def test_share_of_counts_repeats_once_each() -> None:
    assert share_of("a b b", "b", False) == pytest.approx(1 / 2)
    assert share_of("", "b", False) == 0


def test_translations_of_an_article_are_on_one_side() -> None:
    assert {side("cmrc2018", f"DEV_{i}") for i in range(50)} == {FIT, REPORT}
    assert side("xquad", "a0") == side("xquad", "a0")


@pytest.mark.shared_data
def test_the_sides_share_no_document_and_no_text() -> None:
    sets = [*reading_sets(SHARED), *pharma_sets(SHARED)]
    if not sets:
        pytest.skip("../shared/data is not here")
    fitted, reported = set(), set()
    for questions in sets:
        for source in questions.sources:
            (fitted if source.side == FIT else reported).add(source.data)
        sides = {source.id: source.side for source in questions.sources}
        assert all(sides[str(q.document_id)] == q.side for q in questions.questions)
    assert fitted
    assert not fitted & reported
