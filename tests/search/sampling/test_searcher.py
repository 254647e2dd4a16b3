"""What Optuna is told of each trial, and what of it survives a restart."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from whc.errors import StudyError
from whc.records import CurvePoint, StudyRecord, TrialRecord
from whc.search.sampling.improvement import Observation
from whc.search.sampling.searcher import (
    BEGIN_TRIALS,
    SAMPLER_FACTORIES,
    Sampler,
    constraints,
    objectives,
)
from whc.search.space import space
from whc.trials.run import OUT_OF_MEMORY

Record = Callable[..., TrialRecord]

# How each kind of trial ended: state, latency in ms (the limit is 1), validation F1 (the constant predictor has 0.5).
ENDS: dict[str, tuple[str, float | None, float | None]] = {
    "finished": ("finished", 0.5, 0.8),
    "useless": ("finished", 0.2, 0.4),
    "zero": ("finished", 0.2, 0.0),
    "infeasible": ("infeasible", 1.5, None),
    "stopped": ("stopped", 0.5, 0.7),
    "failed": ("failed", None, None),
    "failed_late": ("failed", 0.5, 0.9),
    "no_metric": ("finished", 0.5, None),
    "no_latency": ("finished", None, 0.8),
}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "optuna.journal"


@pytest.fixture
def sampler(tree: space.Section, study: StudyRecord, journal: Path) -> Sampler:
    made = Sampler(tree, study, journal)
    made.start([])
    return made


def trials(journal: Path) -> dict[str, FrozenTrial]:
    """Everything in the journal, by our trial id; redrawn ones under `redrawn-<number>`."""
    study = optuna.load_study(study_name="hands", storage=JournalStorage(JournalFileBackend(str(journal))))
    return {trial.user_attrs.get("trial_id", f"redrawn-{trial.number}"): trial for trial in study.trials}


def run_all(sampler: Sampler, record: Record, ends: dict[str, tuple[str, float | None, float | None]]) -> list[Any]:
    """Ask for a trial for each end, all before the first is told, as several workers would."""
    asked = {trial_id: sampler.ask(trial_id) for trial_id in ends}
    made = [record(trial_id, end[0], *asked[trial_id], end[1], end[2]) for trial_id, end in ends.items()]
    for one in reversed(made):
        sampler.tell(one)
    return made


def test_each_end_is_told_apart(sampler: Sampler, study: StudyRecord, journal: Path, record: Record) -> None:
    run_all(sampler, record, ENDS)
    told = trials(journal)
    assert {name: trial.state for name, trial in told.items()} == {
        "finished": TrialState.COMPLETE,
        "useless": TrialState.COMPLETE,
        "zero": TrialState.COMPLETE,
        "infeasible": TrialState.PRUNED,
        "stopped": TrialState.PRUNED,
        "failed": TrialState.FAIL,
        "failed_late": TrialState.FAIL,
        "no_metric": TrialState.FAIL,
        "no_latency": TrialState.FAIL,
    }
    assert told["finished"].values == [0.8, math.log(0.5)]
    assert told["zero"].values == [0.0, math.log(0.2)]
    assert all(told[name].values is None for name in told if told[name].state != TrialState.COMPLETE)
    assert told["infeasible"].constraints["latency_ms"] == pytest.approx(0.5)
    assert told["infeasible"].constraints["size_bytes"] < 0
    assert all(over <= 0 for over in told["finished"].constraints.values())
    # Fast, but worse than saying yes to everything: over a limit, so that the sampler keeps away.
    assert told["useless"].constraints["floor"] == pytest.approx(0.1 + study.min_over_floor)
    assert told["zero"].constraints["floor"] == pytest.approx(0.5 + study.min_over_floor)


def test_objectives_are_of_finished_trials_alone(record: Record) -> None:
    assert objectives(record("1", "finished", latency_ms=0.5, val_score=0.8)) == [0.8, math.log(0.5)]
    for state, latency_ms, val_score in ENDS.values():
        if state != "finished" or None in (latency_ms, val_score):
            assert objectives(record("1", state, latency_ms=latency_ms, val_score=val_score)) is None


def test_only_limits_of_the_study_constrain(study: StudyRecord, record: Record) -> None:
    unlimited = study.model_copy(update={"limits": {}})
    assert constraints(record("1", "infeasible", latency_ms=9.0), unlimited) == {}
    limited = study.model_copy(update={"limits": {"params": 2_500.0}})
    assert constraints(record("1", "infeasible", latency_ms=9.0), limited) == {"params": 1.0}


def test_the_journal_can_be_made_again_from_the_records(
    sampler: Sampler, tree: space.Section, study: StudyRecord, journal: Path, record: Record
) -> None:
    made = run_all(sampler, record, ENDS)
    told = trials(journal)
    journal.unlink()
    Sampler(tree, study, journal).start(made)
    rebuilt = trials(journal)
    assert rebuilt.keys() == told.keys()
    for name, before in told.items():
        after = rebuilt[name]
        assert (after.state, after.params, after.values) == (before.state, before.params, before.values)
        assert after.constraints == before.constraints
        assert after.distributions == before.distributions
        assert after.user_attrs == before.user_attrs


def test_what_broke_off_is_gone_after_a_restart(
    sampler: Sampler, tree: space.Section, study: StudyRecord, journal: Path, record: Record
) -> None:
    (finished,) = run_all(sampler, record, {"00000": ENDS["finished"]})
    sampler.ask("00001")  # its worker never tells
    assert trials(journal)["00001"].state == TrialState.RUNNING
    again = Sampler(tree, study, journal)
    again.start([finished])
    assert {name: trial.state for name, trial in trials(journal).items()} == {"00000": TrialState.COMPLETE}
    again.ask("00001")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"\x00\xffgarbage\n{"),
        lambda path: path.write_bytes(path.read_bytes()[:-30]),  # torn within its last line
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: path.with_name(f".{path.name}.tmp").write_bytes(b"garbage"),  # left by a killed start
        # Optuna's locks, left by a search that was killed while it wrote.
        lambda path: path.with_name(f"{path.name}.lock").symlink_to(path),
        lambda path: path.with_name(f"{path.name}.lock").symlink_to("gone"),
        lambda path: path.with_name(f".{path.name}.tmp.lock").symlink_to("gone"),
    ],
    ids=["garbage", "torn", "empty", "missing", "leftover", "lock", "dangling lock", "leftover lock"],
)
def test_a_damaged_journal_stops_nothing(
    sampler: Sampler,
    tree: space.Section,
    study: StudyRecord,
    journal: Path,
    record: Record,
    damage: Callable[[Path], object],
) -> None:
    made = run_all(sampler, record, {"00000": ENDS["finished"], "00001": ENDS["infeasible"]})
    damage(journal)
    again = Sampler(tree, study, journal)
    again.start(made)
    again.tell(record("00002", *("finished", *again.ask("00002")), 0.3, 0.6))
    assert sorted(trials(journal)) == ["00000", "00001", "00002"]


def test_a_record_that_was_never_asked_for_changes_nothing(sampler: Sampler, journal: Path, record: Record) -> None:
    sampler.tell(record("00000", "finished", latency_ms=0.5, val_score=0.8))
    assert trials(journal) == {}


def test_what_cannot_be_built_is_never_handed_out(study: StudyRecord, journal: Path) -> None:
    # convnext's stem divides by 4 and later blocks by 2, so 8 pixels leave nothing for the fifth block.
    raw = {"model": {"backbone": {"convnext": {}}, "image_size": [8, 32], "depth": [2, 5], "width": 4}}
    by_chance = study.model_copy(update={"sampler": "random"})
    sampler = Sampler(space.compile_space(raw, "s.yaml"), by_chance, journal)
    sampler.start([])
    for number in range(12):
        config, drawn = sampler.ask(f"{number:05d}")
        assert (config.model.image_size, config.model.depth) != ((8, 8), 5)
        assert drawn["model.depth"] == config.model.depth
    redrawn = [trial for name, trial in trials(journal).items() if name.startswith("redrawn")]
    assert redrawn
    for trial in redrawn:
        assert trial.state == TrialState.FAIL
        assert "image_size 8 is too small for convnext" in trial.user_attrs["reason"]


@pytest.mark.parametrize("name", ["auto", "random"])
def test_a_space_where_nothing_can_be_built(
    study: StudyRecord, journal: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("whc.search.sampling.searcher.MAX_REDRAWS", 5)
    monkeypatch.setattr("whc.search.sampling.limits.SAMPLE_DRAWS", 5)
    raw = {"model": {"backbone": {"convnext": {}}, "image_size": 8, "depth": [9, 10], "width": 1}}
    made = study.model_copy(update={"sampler": name})
    sampler = Sampler(space.compile_space(raw, "s.yaml"), made, journal)
    sampler.start([])
    with pytest.raises(StudyError) as error:
        sampler.ask("00000")
    told = str(error.value)
    assert "\n" not in told
    assert "got none in 5 draws" in told
    assert re.search(r"draws; image_size 8 is too small for convnext with depth (9|10); use a larger image or", told)
    assert all(trial.state == TrialState.FAIL for trial in trials(journal).values())


def first_draws(tree: space.Section, study: StudyRecord, journal: Path, ended: list[TrialRecord]) -> list[Any]:
    sampler = Sampler(tree, study, journal)
    sampler.start(ended)
    return [sampler.ask(f"{number:05d}")[1] for number in range(len(ended), len(ended) + 3)]


def test_the_same_seed_and_records_give_the_same_draws(
    tree: space.Section, study: StudyRecord, tmp_path: Path, record: Record
) -> None:
    ended = []
    for number in range(14):  # beyond TPE's first ten, which are random
        sampler = Sampler(tree, study, tmp_path / "first")
        sampler.start(ended)
        ended.append(
            record(f"{number:05d}", "finished", *sampler.ask(f"{number:05d}"), 0.1 + number / 30, 0.6 + number / 50)
        )
    for count in (0, 3, 14):
        once = first_draws(tree, study, tmp_path / "a", ended[:count])
        assert once == first_draws(tree, study, tmp_path / "b", ended[:count])
    other = study.model_copy(update={"seed": study.seed + 1000})
    assert first_draws(tree, other, tmp_path / "a", []) != first_draws(tree, study, tmp_path / "a", [])


def test_a_resumed_search_does_not_draw_its_first_trials_again(
    sampler: Sampler, tree: space.Section, study: StudyRecord, journal: Path, record: Record
) -> None:
    made = run_all(sampler, record, {f"{number:05d}": ENDS["finished"] for number in range(3)})
    first = [one.drawn for one in made]
    again = first_draws(tree, study, journal, made)
    assert not any(drawn in first for drawn in again)


def test_a_grid_that_does_not_fit_is_redrawn(study: StudyRecord, journal: Path) -> None:
    """Feature maps of 4x4 and 6x4: a third of the rows of grids fits the second alone."""
    written = {
        "model": {
            "head": {"transformer": {"grid": ["3x2", "2x2", "5x5"], "layers": 1}},
            "width": 4,
            "depth": 3,
            "image_size": [16, "24x16"],
        }
    }
    made = Sampler(space.compile_space(written, "space.yaml"), study, journal)
    made.start([])
    seen = {made.ask(f"{number:05d}")[0].model.model_dump_json(include={"head", "image_size"}) for number in range(20)}
    assert len(seen) == 3
    assert not any("5x5" in one for one in seen)


@pytest.mark.parametrize("name", sorted(SAMPLER_FACTORIES))
def test_every_sampler_goes_on_after_every_end(
    name: str, tree: space.Section, study: StudyRecord, journal: Path, record: Record
) -> None:
    made = Sampler(tree, study.model_copy(update={"sampler": name}), journal)
    made.start([])
    run_all(made, record, ENDS)
    for number in range(8):
        config, drawn = made.ask(f"{number}")
        made.tell(record(f"{number}", "finished", config, drawn, 0.4, 0.8))
    states = [trial.state for trial in trials(journal).values()]
    assert states.count(TrialState.COMPLETE) == 8 + 3
    assert states.count(TrialState.RUNNING) == 0


def tried(made: Sampler) -> dict[str, Observation]:
    """What `auto` has learnt, by trial."""
    return {trial_id: one for (_, trial_id), one in made._observations.items()}


def test_auto_draws_what_is_cheap_until_there_is_something_to_expect(
    tree: space.Section, study: StudyRecord, journal: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Sampler(tree, study.model_copy(update={"sampler": "auto"}), journal)
    made.start([])
    chosen = {"model.backbone": "baseline", "model.head": "avg", "model.width": 8, "model.depth": 2}
    chosen |= {"model.image_size": 16, "training.lr": 3e-3}
    known: list[tuple[int, int]] = []

    def choose(tried: list[Observation], running: list[dict[str, Any]]) -> dict[str, Any]:
        known.append((len(tried), len(running)))
        return chosen

    monkeypatch.setattr(made._chooser, "choose", choose)
    drawn = []
    for number in range(BEGIN_TRIALS + 2):
        config, one = made.ask(f"{number}")
        drawn.append(one)
        if number != BEGIN_TRIALS - 1:  # one that runs while the next are asked for
            made.tell(record(f"{number}", "finished", config, one, 0.4, 0.8))
    assert chosen not in drawn[:BEGIN_TRIALS]
    assert drawn[BEGIN_TRIALS + 1] == chosen
    assert known == [(BEGIN_TRIALS, 1)]


def test_auto_learns_from_every_end(tree: space.Section, study: StudyRecord, journal: Path, record: Record) -> None:
    made = Sampler(tree, study.model_copy(update={"sampler": "auto"}), journal)
    made.start([])
    finished = record("00000", "finished", *made.ask("00000"), 0.4, 0.7)
    made.tell(finished)
    for trial_id, state, latency_ms in [("1", "infeasible", 3.0), ("2", "failed", 0.2), ("3", "failed", None)]:
        made.tell(record(trial_id, state, *made.ask(trial_id), latency_ms))
    found = tried(made)
    assert found["00000"] == Observation(finished.drawn, 0.4, 0.7)
    assert [one.score for one in found.values()][1:] == [None, 0.0]  # of the last one nothing is known

    again = Sampler(tree, study.model_copy(update={"sampler": "auto"}), journal)
    again.start([finished], [finished.model_copy(update={"study": "earlier"})])
    assert list(again._observations) == [("earlier", "00000"), ("hands", "00000")]


def test_a_trial_that_was_cut_short_in_a_study_made_before(
    tree: space.Section, study: StudyRecord, journal: Path, record: Record, sampler: Sampler
) -> None:
    config, drawn = sampler.ask("00000")
    longer = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 4})})
    curve = [CurvePoint(epoch=1, val_score=0.7, seconds=1.0)]
    stopped = record("00000", "stopped", longer, drawn, 0.5, 0.7).model_copy(update={"curve": curve})
    again = Sampler(tree, study, journal)
    again.start([stopped])
    told = trials(journal)["00000"]
    assert (told.state, told.values) == (TrialState.PRUNED, None)
    assert told.constraints["unfinished"] == pytest.approx(0.75)
    assert tried(again) == {"00000": Observation(drawn, 0.5, None)}  # its score is not that of a whole training


def test_out_of_memory_is_over_a_limit(study: StudyRecord, record: Record) -> None:
    lost = record("00000", "infeasible").model_copy(update={"reason": OUT_OF_MEMORY})
    assert constraints(lost, study)["memory"] > 0
    assert "memory" not in constraints(record("00001", "infeasible"), study)


def test_memory_is_a_limit_like_others(study: StudyRecord, record: Record) -> None:
    limited = study.model_copy(update={"limits": {"peak_memory_bytes": 1000}})
    used = record("00000", "infeasible").model_copy(update={"peak_memory_bytes": 1500})
    assert constraints(used, limited)["peak_memory_bytes"] == pytest.approx(0.5)
