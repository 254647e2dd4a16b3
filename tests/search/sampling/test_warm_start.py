"""What a new study learns from earlier ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from whc import records
from whc.errors import StudyError
from whc.records import StudyRecord, TrialRecord
from whc.search.sampling.searcher import Sampler
from whc.search.sampling.warm_start import as_drawn, earlier_trials
from whc.search.space import space
from whc.trials.config import TrialConfig

Record = Callable[..., TrialRecord]


@pytest.fixture
def runs(tmp_path: Path, study: StudyRecord, tree: space.Section, record: Record) -> Path:
    """A folder of studies with `old`, made before: a finished trial, one cut short, a failed one, one that waits."""
    folder = tmp_path / "runs" / "old"
    study.model_copy(update={"study": "old"}).save(folder)
    with (folder / "study.yaml").open("a") as file:
        file.write("scheduler: {eta: 3, rungs: 2}\ndrop_slower: 4.0\npatience: null\n")
    (folder / "trials" / "00003").mkdir(parents=True)
    (folder / "trials" / "00003" / "rung.json").write_text("{}")
    sampler = Sampler(tree, study, tmp_path / "optuna.journal")
    sampler.start([])
    ends = {"00000": ("finished", 0.9), "00001": ("stopped", 0.7), "00002": ("failed", None)}
    for trial_id, (state, val_score) in ends.items():
        config, drawn = sampler.ask(trial_id)
        made = record(trial_id, state, config, drawn, 0.4, val_score)
        records.save(made.model_copy(update={"study": "old"}), folder / "trials" / trial_id / "record.json")
    return folder.parent


@pytest.mark.parametrize("seed", range(20))
def test_what_was_drawn_is_read_off_the_configuration(tree: space.Section, seed: int) -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
    config = TrialConfig.model_validate(space.suggest(tree, trial))
    assert as_drawn(tree, config.resolved()) == trial.params


@pytest.mark.parametrize(
    ("key", "value"), [("width", 16), ("depth", 5), ("depth", 6), ("head", "mlp_mixer"), ("image_size", 32)]
)
def test_what_could_not_be_drawn_is_refused(tree: space.Section, key: str, value: Any) -> None:
    config = TrialConfig.model_validate(space.suggest(tree, optuna.create_study().ask())).resolved()
    config["model"][key] = value
    with pytest.raises(ValueError, match=r"no choice|out of range"):
        as_drawn(tree, config)


def test_both_objectives_are_learnt_in_this_hosts_milliseconds(
    runs: Path, study: StudyRecord, tree: space.Section, tmp_path: Path
) -> None:
    here = study.model_copy(update={"reference_ms": 0.2})
    found = earlier_trials(["old"], runs, here, tree)
    assert [one.trial_id for one in found] == ["00000"]  # not the one cut short
    assert found[0].latency is not None
    assert found[0].latency.ms == pytest.approx(0.8)  # 0.4 where the reference network took 0.1
    sampler = Sampler(tree, here, tmp_path / "new.journal")
    sampler.start([], found)
    config, _ = sampler.ask("00000")
    assert isinstance(config, TrialConfig)


def test_a_study_of_which_nothing_fits_is_refused(runs: Path, study: StudyRecord) -> None:
    other = space.compile_space({"model": {"width": [24, 32]}}, "other.yaml")
    with pytest.raises(StudyError, match=r"^--warm-start old: must hold ended trials that the new space could draw"):
        earlier_trials(["old"], runs, study, other)


def test_a_study_that_does_not_exist_is_refused(runs: Path, study: StudyRecord, tree: space.Section) -> None:
    with pytest.raises(StudyError, match="older"):
        earlier_trials(["older"], runs, study, tree)
