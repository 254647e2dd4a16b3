"""Multi-label classification: its scores against scikit-learn's, its rows and its CSV."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from whc.errors import DataError
from whc.tasks.multi_label import Config, MultiLabel
from whc.tasks.showing import NOTHING_COLOUR, UNSURE_COLOUR, Bar

TASK = MultiLabel(("cat", "dog", "bird"), Config())


@given(st.integers(1, 40), st.integers(0, 999))
def test_the_score_is_scikit_learn_s_macro_f1(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    outputs, targets = rng.random((rows, 3)).astype(np.float32), rng.integers(0, 2, (rows, 3))
    expected = f1_score(targets, outputs >= 0.5, average="macro", zero_division=1.0)
    assert float(TASK.judge(outputs, targets).score()) == pytest.approx(expected)
    parts = [float(part.score()) for part in TASK.parts(outputs, targets).values()]
    assert np.mean(parts) == pytest.approx(expected)


@given(st.integers(1, 40), st.integers(0, 999))
def test_the_floor_is_the_best_constant_answer(rows: int, seed: int) -> None:
    targets = np.random.default_rng(seed).integers(0, 2, (rows, 3))
    answers = [[bool(answer & 1 << i) for i in range(3)] for answer in range(8)]
    scores = [
        float(TASK.judge(np.tile(np.array(answer, np.float32), (rows, 1)), targets).score()) for answer in answers
    ]
    assert TASK.floor(targets) == pytest.approx(max(scores))


def test_an_answer_as_people_see_it() -> None:
    output = np.array([0.75, 0.5, 0.25], np.float32)
    assert TASK.cells(output) == ("cat;dog", "0.750000", "0.500000", "0.250000")
    assert TASK.reading(output).title == "cat, dog"
    assert TASK.reading(output).bar == Bar("cat", 0.75, 0.5)
    assert TASK.reading(np.zeros(3, np.float32)).title == "no label"
    assert TASK.reading(np.zeros(3, np.float32)).colour == NOTHING_COLOUR
    unsure = TASK.reading(np.array([0.45, 0, 0], np.float32))
    assert (unsure.title, unsure.colour) == ("not sure: no label", UNSURE_COLOUR)
    assert TASK.answer_counts(np.stack([output, 0 * output])) == {"cat": 1, "dog": 1, "bird": 0, "no label": 1}


def test_rows_are_of_their_rarest_label() -> None:
    rows = pd.DataFrame({"labels": [["cat"], ["cat", "dog"], [], ["cat"]], "split": "train"})
    labelled = MultiLabel.read_rows(rows, {"whc.labels": '["cat", "dog", "bird"]'}, "rows")
    assert labelled.labels == ("cat", "dog", "bird")
    assert [labelled.strata_names[stratum] for stratum in labelled.strata] == ["cat", "dog", "no label", "cat"]
    assert MultiLabel.read_rows(rows, {}, "rows").labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("metadata", "told"),
    [('["cat"]', "row 1: labels: must be among cat, got 'dog'"), ("[[", "metadata whc.labels: must be a JSON list of")],
)
def test_labels_that_nobody_knows(metadata: str, told: str) -> None:
    rows = pd.DataFrame({"labels": [["cat"], ["cat", "dog"]], "split": "train"})
    with pytest.raises(DataError, match=told.replace("[", r"\[")):
        MultiLabel.read_rows(rows, {"whc.labels": metadata}, "rows")
