"""The fastest candidates learn from the best, compete with themselves, and learn again only what has changed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from whc import records
from whc.data.dataset import UNLABELLED, Corpus
from whc.data.synthetic import render
from whc.errors import DataError, UsageError
from whc.factory.build import build_table
from whc.factory.distilling import NO_TEACHER
from whc.factory.opening import BuildRequest, open_study
from whc.factory.plan import DISTILLING, plan
from whc.records import LadderTable, TrialRecord
from whc.trials import dispatch
from whc.trials.dispatch import TrialJob
from whc.trials.run import run

RECIPE = """
min_gain: 0
confidence: 0.01
min_over_floor: 0
refit: {{seeds: 1}}
timing: {{min_rounds: 5, max_rounds: 5}}
distil: {distil}
"""
VAL_SCORES = [0.6, 0.7, 0.8, 0.9]


@pytest.fixture
def study(searched_more: Path, tmp_path: Path) -> Path:
    """A copy of a study whose candidates are trained again already, with written scores: who is best is no chance."""
    study = Path(shutil.copytree(searched_more / "wave-1", tmp_path / "runs" / "wave-1"))
    for record, score in zip(list(records.trial_records(study)), VAL_SCORES, strict=True):
        name = f"{record.trial_id}-0"
        shutil.copytree(study / "trials" / record.trial_id, study / "refit" / name)
        scored = record.model_copy(update={"val_score": score})
        records.save(scored, study / "trials" / record.trial_id / "record.json")
        records.save(scored.model_copy(update={"trial_id": name}), study / "refit" / name / "record.json")
    return study


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Runs trainings in this process; gives their ids and how many pictures without labels each had."""
    done: list[tuple[str, int]] = []

    def run_all(jobs: Sequence[TrialJob], corpus: Corpus, *_: object) -> Iterator[tuple[int, TrialRecord]]:
        for place, job in enumerate(jobs):
            done.append((job.assignment.trial_id, int((corpus.splits == UNLABELLED).sum())))
            yield place, run(job.config, corpus, job.assignment, lambda _: None)

    monkeypatch.setattr(dispatch, "run_all", run_all)
    return done


def asked(folder: Path, distil: str) -> BuildRequest:
    (folder / "recipe.yaml").write_text(RECIPE.format(distil=distil))
    return BuildRequest(recipe=str(folder / "recipe.yaml"))


def rows(table: LadderTable) -> dict[str, Any]:
    return {row.trial_id: row for row in (*table.variants, *table.left_out)}


def test_students_compete_with_themselves(study: Path, tmp_path: Path, trained: list[tuple[str, int]]) -> None:
    """An interrupted build keeps what is trained; another file of pictures is another training.

    Only the first and the last candidate see as many frames, so that the second has no teacher.
    """
    steps = list[str]()
    more = render(tmp_path / "more", clips=12, seed=5)
    request = asked(tmp_path, f"{{students: 2, data: {more}}}")
    fresh = plan(open_study(study, request), request)
    todo = {one.trial_id: (one.trainings, one.to_train) for one in fresh.candidates}
    assert todo == {**{f"0000{number}": (1, 0) for number in range(4)}, "00000-distilled": (1, 1)}
    assert fresh.seconds[DISTILLING] > 0
    assert not trained

    def interrupted(step: str) -> None:
        if step.startswith("distilling: 1 of 1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_table(study, request, [], interrupted)
    table, _ = build_table(study, request, [], steps.append)
    ((name, count),) = trained
    assert name == "00000-distilled-0"
    assert count > 0
    (told,) = [step for step in steps if step.startswith("distilling: with")]
    assert "without their labels (" in told
    assert rows(table).keys() == {*todo, "00001-distilled"}
    assert rows(table)["00001-distilled"].reason == NO_TEACHER

    assert rows(table)["00000-distilled"].latency_ms == rows(table)["00000"].latency_ms  # only weights differ
    named = [row for row in table.variants if row.trial_id.endswith("-distilled")]
    record = records.load(TrialRecord, study / "refit" / "00000-distilled-0" / "record.json")
    for config in (record.config, *(row.config for row in named)):
        path = Path(config["training"]["teacher"])
        assert path.read_bytes() == (study / "refit" / "00003-0" / "checkpoint.pt").read_bytes()
        assert path.parent == study / "finished"
    for row in table.variants:
        notes = [note for note in row.notes if "distilled from trial 00003 (seed 0, validation F1 0.9" in note]
        assert len(notes) == (row in named)

    trained.clear()
    again, _ = build_table(study, request, [], lambda _: None)
    assert again == table
    assert not any(one.to_train or one.to_compare for one in plan(open_study(study, request), request).candidates)
    build_table(study, asked(tmp_path, "{students: 1}"), [], lambda _: None)
    assert trained == [("00000-distilled-0", 0)]


def test_mistakes_in_a_recipe(study: Path, tmp_path: Path) -> None:
    for distil, error, told in (
        ("{data: none.parquet}", DataError, "distil.data: none.parquet: must be "),
        (f"{{data: {tmp_path / 'recipe.yaml'}}}", DataError, f"distil.data: {tmp_path / 'recipe.yaml'}: must be "),
        ("{teacher: large}", UsageError, f"{tmp_path / 'recipe.yaml'}: distil.teacher: "),
        ("{students: 0}", UsageError, f"{tmp_path / 'recipe.yaml'}: distil.students: "),
        ("{}\nrefit: {seeds: 0}", UsageError, f"{tmp_path / 'recipe.yaml'}: distil: must be left out where nothing"),
    ):
        request = asked(tmp_path, distil)
        text = (tmp_path / "recipe.yaml").read_text()
        if "seeds: 0" in distil:
            (tmp_path / "recipe.yaml").write_text(text.replace("refit: {seeds: 1}\n", ""))
        with pytest.raises(error) as caught:
            plan(open_study(study, request), request)
        assert str(caught.value).startswith(told)
        assert "\n" not in str(caught.value)
