"""Candidates trained again on real workers: every seed once, the best ships, and nothing is done twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from whc import records
from whc.data.dataset import Corpus, load
from whc.factory.recipe import Refit
from whc.factory.refit import REFIT_FOLDER, Fitted, candidate_fronts, is_whole, refit, shortlist, trainings_of
from whc.latency.timer.client import connect
from whc.pareto import Point
from whc.plugins import ChoiceOf
from whc.records import StudyRecord, TrialRecord
from whc.records.results import front_trials
from whc.tasks.classification import Classification

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("refit")]  # which share a fixture

RUNTIME = ChoiceOf("runtimes").parse("onnxruntime_cpu")


@pytest.fixture
def study(searched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(searched / "wave-1", tmp_path / "runs" / "wave-1"))


def again(
    trials: Sequence[TrialRecord], study: Path, corpus: Corpus, settings: Refit, on_step: Callable[[str], None]
) -> tuple[list[Fitted], list[tuple[TrialRecord, str]]]:
    about = StudyRecord.load(study)
    planned = trainings_of(trials, about, study, corpus.fingerprint, settings, RUNTIME, None)
    return refit(trials, planned, study, corpus, about.workers, on_step)


def test_training_again(study: Path) -> None:
    about = StudyRecord.load(study)
    corpus = load(Path(about.data_shown), [(16, 16)], Classification)
    trials = front_trials(list(records.trial_records(study)))[:1]
    settings = Refit(seeds=2, epochs=2)
    steps: list[str] = []
    fitted, failed = again(trials, study, corpus, settings, steps.append)
    assert not failed
    (candidate,) = fitted
    assert candidate.trial == trials[0]
    assert list(candidate.seeds) == ["0", "1"]
    assert candidate.record.val_score == max(candidate.seeds.values()) == candidate.seeds[str(candidate.record.seed)]
    assert len(candidate.record.curve) == 2
    assert candidate.folder == study / REFIT_FOLDER / candidate.record.trial_id
    assert (candidate.folder / "checkpoint.pt").is_file()
    assert "training again: 2 of 2 trainings to do" in steps

    # One of the two broke off: only that one is trained again.
    paths = sorted((study / REFIT_FOLDER).glob("*/record.json"))
    before = paths[1].stat().st_mtime_ns
    paths[0].unlink()
    steps.clear()
    repeated, _ = again(trials, study, corpus, settings, steps.append)
    assert "training again: 1 of 2 trainings to do" in steps
    assert paths[1].stat().st_mtime_ns == before
    assert repeated[0].seeds == candidate.seeds

    # A checkpoint that is not what its training wrote.
    (paths[1].parent / "checkpoint.pt").write_bytes(b"damaged")
    steps.clear()
    again(trials, study, corpus, settings, steps.append)
    assert "training again: 1 of 2 trainings to do" in steps
    assert is_whole(records.load(TrialRecord, paths[1]), paths[1].parent, "checkpoint.pt")

    # Another length is another training.
    steps.clear()
    again(trials, study, corpus, Refit(seeds=1, epochs=1), steps.append)
    assert "training again: 1 of 1 training to do" in steps


def test_a_lost_timer_is_told_while_trainings_wait(study: Path, start_timer: Callable[..., Any]) -> None:
    """The search had other latencies than this timer's, so that the architecture is timed again."""
    about, process = StudyRecord.load(study), start_timer()
    timer, steps = connect(process.address, process.TOKEN), list[str]()
    process.end()

    def on_step(step: str) -> None:
        steps.append(step)
        if "must answer" in step:
            start_timer(port=process.port)

    corpus = load(Path(about.data_shown), [(16, 16)], Classification)
    trials = front_trials(list(records.trial_records(study)))[:1]
    planned = trainings_of(trials, about, study, corpus.fingerprint, Refit(seeds=1, epochs=1), RUNTIME, timer)
    fitted, failed = refit(trials, planned, study, corpus, about.workers, on_step)
    assert not failed
    assert fitted[0].record.latency
    assert fitted[0].record.latency.runtime == "openvino"
    begun, lost, back, reached = steps
    assert lost.startswith(f"timer {timer.address}: must answer, got: Connection refused; start it there with ")
    assert (begun, back) == ("training again: 1 of 1 training to do", "the timer is back")
    assert reached.startswith("training again: 1 of 1, trial ")


def test_one_that_cannot_be_trained_says_why(study: Path) -> None:
    about = StudyRecord.load(study)
    corpus = load(about.data_paths(study), [(16, 16)], Classification)
    (trial, *_) = front_trials(list(records.trial_records(study)))
    config = {**trial.config, "training": {**trial.config["training"], "precision": "fp16"}}
    spoilt = trial.model_copy(update={"config": config})
    fitted, failed = again([spoilt], study, corpus, Refit(seeds=1), lambda _: None)
    assert not fitted
    assert failed == [
        (spoilt, "training again failed: training.precision: fp16 needs a GPU, got 'cpu'; use fp32 or bf16")
    ]


def test_the_shortlist_keeps_both_ends(study: Path) -> None:
    (trial, *_) = front_trials(list(records.trial_records(study)))
    assert trial.latency is not None

    def like(number: int) -> TrialRecord:
        latency = trial.latency.model_copy(update={"ms": 0.01 * 2**number})  # type: ignore[union-attr]
        return trial.model_copy(update={"latency": latency, "val_score": 0.5 + number / 20})

    front = [like(number) for number in range(8)]
    short = shortlist([front], 3, Point(0.4, 10))
    assert len(short) == 3
    assert (short[0], short[-1]) == (front[0], front[-1])
    assert shortlist([front], 20, Point(0.4, 10)) == front

    # Behind a small front, those that may overtake it after a longer training.
    behind = [trial.model_copy(update={"val_score": (trial.val_score or 0) - 0.07}) for trial in front]
    fronts = candidate_fronts([*behind, *front], Refit(candidates=10))
    assert fronts == [front, behind]
    short = shortlist(fronts, 10, Point(0.4, 10))
    assert len(short) == 10
    assert all(trial in short for trial in (*front, behind[0], behind[-1]))
    assert [trial.latency for trial in short] == sorted(
        (trial.latency for trial in short), key=lambda latency: latency.ms if latency else 0
    )
    assert candidate_fronts([*behind, *front], Refit(candidates=8)) == [front]
    assert candidate_fronts([*behind, *front], Refit(seeds=0)) == [front]
