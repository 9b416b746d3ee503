"""What the recipe says about a tenant's pairs before any training; and the pure parts of a fit."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets import PairSample
from xingyue_adapters.document_qa.recipe import RetrievalRecipe
from xingyue_adapters.retrieval_tuning.choose import paired
from xingyue_adapters.retrieval_tuning.dataset import cleaned, divide
from xingyue_adapters.retrieval_tuning.ranking import Asked, ranks, reciprocal
from xingyue_adapters.text_table import wrapped

RECIPE = RetrievalRecipe()


def test_good_pairs_have_nothing_to_say(pairs, write, tmp_path):
    report = RECIPE.validate(write(tmp_path / "a.jsonl", pairs), "supervised", tmp_path / "s")
    assert (report.samples, report.classes, report.notes) == (48, {"pair": 48}, ())


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        pytest.param(
            lambda rows: rows[:20], "too_few_samples", "needs 30 usable lines or more", id="few"
        ),
        pytest.param(
            lambda rows: [row | {"group": "all"} for row in rows],
            "too_few_groups",
            "on 1 group",
            id="one-group",
        ),
        pytest.param(
            lambda rows: [
                row | {"positive": "same", "group": str(i)} for i, row in enumerate(rows)
            ],
            "too_few_groups",
            "6 are needed",
            id="one-passage",
        ),
        pytest.param(
            lambda rows: [*rows, *["{"] * 9], "unreadable_line", "a.jsonl:49 is not JSON", id="json"
        ),
        pytest.param(
            lambda rows: [{"query": f"q{i}", "positive": f"p{i}"} for i in range(3001)],
            "too_many_samples",
            "more than the 3000",
            id="many",
        ),
    ],
)
def test_errors_in_words(pairs, write, tmp_path, change, code, words):
    data = write(tmp_path / "a.jsonl", change(pairs))
    report = RECIPE.validate(data, "pairs", tmp_path / "scratch")
    found = {note.code: note.message for note in report.errors}
    assert words in found[code]


def test_repeats_are_warned_of_and_left_out(pairs, write, tmp_path):
    report = RECIPE.validate(
        write(tmp_path / "a.jsonl", [*pairs, pairs[3]]), "pairs", tmp_path / "scratch"
    )
    assert [note.code for note in report.notes] == ["duplicates"]
    assert not report.errors


@pytest.mark.parametrize(
    ("method", "name", "words"),
    [
        ("pairs", "a.md", "holds documents but no pairs"),
        ("documents", "a.jsonl", "needs documents"),
        ("chat", "a.jsonl", "not known to retrieval"),
    ],
    ids=["documents-as-pairs", "pairs-as-documents", "unknown"],
)
def test_a_method_that_does_not_fit_the_data(write, tmp_path, method, name, words):
    data = write(tmp_path / name, [{"query": "q", "positive": "p"}])
    with pytest.raises(InvalidRequest, match=words):
        RECIPE.validate(data, method, tmp_path / "scratch")


def sample(query: str, positive: str, group: str) -> PairSample:
    return PairSample(f"a:{query}", query, positive, (), group)


def test_lines_that_share_a_question_or_a_passage_are_one_group():
    found = cleaned(
        [sample("1", "p", "a"), sample("2", "p", "b"), sample("2", "r", "c"), sample("3", "s", "d"),
         sample("3", "s", "e")]
    )  # fmt: skip
    assert len(found) == 4
    assert len({each.group for each in found[:3]}) == 1
    assert found[3].group not in {each.group for each in found[:3]}


def test_groups_are_never_on_both_sides():
    samples = [sample(str(i), f"p{i}", str(i // 4)) for i in range(80)]
    fitted, held = divide(samples, None, 0.25, 1)
    assert not {each.group for each in fitted} & {each.group for each in held}
    assert (len(fitted), len(held)) == (60, 20)
    assert divide(samples, None, 0.25, 1) == (fitted, held)


def test_ranks_count_usable_passages_and_put_the_earlier_first_among_equals():
    corpus = SimpleNamespace(
        owners=np.array([0, 1, 1, -1, 2]), usable=np.array([True, True, True, False, True])
    )
    asked = Asked(
        [sample("1", "p", "a")] * 2,
        np.zeros((2, 4), np.float32),
        np.array([[0.5, 0.1, 0.5, 0.9, 0.4], [0.1, 0.2, 0.0, 0.9, 0.2]], np.float32),
        [np.array([1]), np.array([2])],
    )
    found = ranks(corpus, asked, np.zeros((2, 5), np.float32), 0.0)  # type: ignore[arg-type]
    assert found.tolist() == [2, 2]
    assert reciprocal(np.array([1, 2, 10, 11])).tolist() == [1.0, 0.5, 0.1, 0.0]


def test_an_error_counts_groups_not_questions():
    groups = np.repeat(["a", "b", "c", "d"], 25)
    same_within = np.repeat([1.0, -1.0, 1.0, 1.0], 25)
    mean, error = paired(same_within, groups)
    assert mean == 0.5
    _, alone = paired(same_within, np.arange(100).astype(str))
    assert error == pytest.approx(5 * alone)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("short", "short"),
        ("one two three", "one two\nthree"),
        ("一二三四五六", "一二三四\n五六"),
        ("a" * 30, "aaaaaaaa"),
        ("one two three four five six seven", "one two\nthree\nfou…"),
    ],
    ids=["short", "words", "ideographs", "one-word", "cut"],
)
def test_text_in_a_cell(text, shown):
    assert wrapped(text, 8) == shown


def test_asking_what_is_offered_imports_nothing_heavy():
    code = (
        "import sys; from xingyue.catalog.plugins import load_recipe; "
        "offered = load_recipe('retrieval').methods; "
        "print(*{'torch', 'sklearn', 'onnxruntime', 'matplotlib'} & set(sys.modules), len(offered))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "3"), done.stdout + done.stderr
