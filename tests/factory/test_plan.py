"""What a build does again after a change, and what it says of that beforehand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from whc import records
from whc.errors import DataError, StudyError
from whc.factory import build, front
from whc.factory.build import build_table
from whc.factory.opening import BuildRequest, open_study, prefix_of
from whc.factory.plan import COMPARING, SCORING, TIMING, TRAINING, Countdown, plan
from whc.records import LadderTable, StudyRecord
from whc.trials import dispatch

RECIPE = """
min_gain: 0
confidence: 0.01
min_over_floor: 0
refit: {seeds: 1}
timing: {min_rounds: 10, max_rounds: 20}
"""


@pytest.fixture
def study(searched: Path, tmp_path: Path) -> Path:
    """A copy of the searched study whose candidates are trained again already, as the search trained them."""
    folder = Path(shutil.copytree(searched / "wave-1", tmp_path / "runs" / "wave-1"))
    for record in list(records.trial_records(folder)):
        name = f"{record.trial_id}-0"
        shutil.copytree(folder / "trials" / record.trial_id, folder / "refit" / name)
        records.save(record.model_copy(update={"trial_id": name}), folder / "refit" / name / "record.json")
    return folder


@pytest.fixture
def ask(tmp_path: Path) -> BuildRequest:
    return asked(tmp_path)


def asked(tmp_path: Path, old: str = "", new: str = "", **more: object) -> BuildRequest:
    """A request with the recipe, in which `new` stands for `old`."""
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace(old, new) if old else RECIPE)
    return BuildRequest(recipe=str(path), **more)


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a build has computed: trainings, comparisons and sessions, in their order."""
    done: list[str] = []
    for module, name in ((dispatch, "run_all"), (front, "parity"), (build, "session")):
        real = getattr(module, name)

        def counted(*given: object, real: object = real, name: str = name) -> object:
            if name != "run_all" or given[0]:
                done.append(name)
            return real(*given)  # type: ignore[operator]

        monkeypatch.setattr(module, name, counted)
    return done


def built(study: Path, request: BuildRequest) -> LadderTable:
    return build_table(study, request, [], lambda _: None)[0]


def kept(study: Path) -> set[Path]:
    """What is kept beside pictures of variants, which change with their names."""
    return {path for path in (study / "finished").iterdir() if path.suffix != ".webp"}


def test_only_what_a_change_touches_is_done_again(
    study: Path, ask: BuildRequest, tmp_path: Path, done: list[str]
) -> None:
    first = built(study, ask)
    assert done == ["parity"] * 3 + ["session"]
    finished = kept(study)
    assert first.timed_at
    assert first.prefix == "wave"

    done.clear()
    shutil.rmtree(study / "ladder")
    assert built(study, ask) == first
    assert done == []
    changes = [("confidence: 0.01", "confidence: 0.5\nmax_variants: 2"), ("min_gain", "prefix: hand\nmin_gain")]
    for old, new in changes:
        assert built(study, asked(tmp_path, old, new)).timed_at == first.timed_at
        assert done == []
    assert kept(study) == finished

    built(study, asked(tmp_path, "max_rounds: 20", "max_rounds: 30"))
    assert done == ["session"]
    left = kept(study)
    assert len(left) == len(finished)  # the first session is no longer used
    assert left != finished
    done.clear()
    built(study, asked(tmp_path, "max_rounds: 20", "max_rounds: 30", retime=True))
    assert done == ["session"]
    done.clear()
    built(study, asked(tmp_path, "max_rounds: 20", "max_rounds: 30}\nparity: {max_difference: 0.5"))
    assert done == ["parity"] * 3


def test_damaged_results_are_computed_again(study: Path, ask: BuildRequest, done: list[str]) -> None:
    first = built(study, ask)
    for path in (study / "finished").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    done.clear()
    again = built(study, ask)
    assert done == ["parity"] * 3 + ["session"]
    scores = [{row.trial_id: row.val_score for row in (*table.variants, *table.left_out)} for table in (first, again)]
    assert scores[0] == scores[1]


def test_a_dry_run_tells_what_a_build_would_do(study: Path, ask: BuildRequest, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*")}
    fresh = plan(open_study(study, ask), ask)
    assert {path: path.stat().st_mtime_ns for path in study.rglob("*")} == before
    assert [(one.trainings, one.to_train, one.to_compare) for one in fresh.candidates] == [(1, 0, True)] * 3
    assert [(one.prefix, one.to_make, one.is_timed) for one in fresh.ladders] == [("wave", 0, True)]
    assert fresh.seconds[TRAINING] == 0 < fresh.seconds[COMPARING]

    table = built(study, ask)
    same = plan(open_study(study, ask), ask)
    assert not any(one.to_train or one.to_compare for one in same.candidates)
    assert [(one.is_timed, one.timed_at) for one in same.ladders] == [(False, table.timed_at)]
    assert {name for name, seconds in same.seconds.items() if seconds} == {SCORING}

    longer = asked(tmp_path, "seeds: 1", "seeds: 2")
    assert [one.to_train for one in plan(open_study(study, longer), longer).candidates] == [1] * 3
    longer = asked(tmp_path, "seeds: 1", "seeds: 1, epochs: 7")
    refitted = plan(open_study(study, longer), longer)
    assert [one.to_train for one in refitted.candidates] == [1] * 3
    trained_s = sum(point.seconds for trial in records.trial_records(study) for point in trial.curve)
    assert refitted.seconds[TRAINING] >= 7 / 6 * trained_s / refitted.workers
    assert refitted.ladders[0].is_timed
    again = asked(tmp_path, retime=True)
    assert plan(open_study(study, again), again).seconds[TIMING] > 0


def test_a_dry_run_without_its_data(study: Path, ask: BuildRequest) -> None:
    StudyRecord.load(study).model_copy(update={"data_fingerprint": "0" * 16}).save(study)
    with pytest.raises(DataError, match="must be the data set that the study searched"):
        plan(open_study(study, ask), ask)


def test_a_study_whose_trials_were_deleted_says_what_brings_them_back(study: Path, ask: BuildRequest) -> None:
    shutil.rmtree(study / "trials")
    with pytest.raises(StudyError, match="`whc search --resume --study wave-1 --trials 3`"):
        open_study(study, ask)


@pytest.mark.parametrize(
    ("name", "prefix"), [("tiny", "tiny"), ("My-Pose", "my_pose"), ("_", "model"), ("a" * 50, "a" * 40)]
)
def test_a_ladder_without_a_prefix_is_named_after_its_search_file(name: str, prefix: str) -> None:
    assert prefix_of(name) == prefix


def test_the_countdown_follows_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("whc.factory.plan.time.monotonic", lambda: now[0])
    left: list[float] = []
    countdown = Countdown({"first": 40, "second": 10, "third": 5}, left.append)
    countdown.begin("first")
    now[0] += 20
    countdown.share(0.25)  # slower than expected: 60 s are left of it
    countdown.begin("third")  # the second was skipped
    assert left == [55, 75, 5]
