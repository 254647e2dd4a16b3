"""From a study on disk to a ladder on disk."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import onnx
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from matplotlib.axes import Axes

from whc import records
from whc.data.dataset import Corpus, load
from whc.data.windows import windows
from whc.errors import DataError, StudyError, UsageError
from whc.export.parity import ParityLimits
from whc.factory import build, front, variants
from whc.factory.build import build_table
from whc.factory.evidence import Evidence
from whc.factory.finished import FinishedResults
from whc.factory.front import Exported
from whc.factory.opening import BuildRequest
from whc.factory.refit import as_searched
from whc.factory.table import markdown, plot
from whc.latency.bench import session
from whc.latency.timing import Protocol
from whc.plugins import ChoiceOf
from whc.records import LadderTable, StudyRecord, TrialRecord
from whc.records.results import front_trials
from whc.runtimes import onnxruntime_cpu
from whc.tasks import Outputs
from whc.tasks.classification import Classification, ConfusionCounts
from whc.trials.config import TrialConfig


@dataclass(frozen=True)
class Built:
    """A ladder that has been built, and what was told meanwhile."""

    study: Path
    table: LadderTable
    lines: list[str]
    steps: list[str]


@pytest.fixture(scope="module")
def built(searched: Path, quick: str, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The ladder of the study, which a test only reads."""

    class Listener:
        def ladder_built(self, table: LadderTable, folder: Path) -> list[str]:
            assert (folder / table.variants[0].file).is_file()
            return [f"{len(table.variants)} taken over"]

    home, steps = tmp_path_factory.mktemp("built"), list[str]()
    (home / "quick.yaml").write_text(quick)
    study = Path(shutil.copytree(searched / "wave-1", home / "runs" / "wave-1"))
    return Built(
        study, *build_table(study, BuildRequest(recipe=str(home / "quick.yaml")), [Listener()], steps.append), steps
    )


@pytest.fixture
def untested(study: Path) -> Path:
    """The same study of data that have no test split."""
    about = StudyRecord.load(study)
    rows = pq.read_table(about.data_shown)
    data = study.parent / "untested.parquet"
    pq.write_table(rows.filter(pc.not_equal(rows["split"], "test")), data)
    fingerprint = load(data, [(16, 16)], Classification).fingerprint
    about.model_copy(update={"data": str(data), "data_fingerprint": fingerprint}).save(study)
    return study


def test_the_ladder_is_written_with_its_evidence(built: Built) -> None:
    study, table, steps = built.study, built.table, built.steps
    assert built.lines == [f"{len(table.variants)} taken over"]
    assert steps[-1] == "handing the ladder on"
    assert table == records.load(LadderTable, study / "table.json")
    assert all(variant.name.startswith("hand_") for variant in table.variants)
    assert sorted(path.name for path in (study / "ladder").glob("*.onnx")) == sorted(
        f"{variant.name}.onnx" for variant in table.variants
    )
    for faster, slower in zip(table.variants, table.variants[1:], strict=False):
        assert faster.latency_ms < slower.latency_ms
        assert faster.val_score < slower.val_score
    for variant in table.variants:
        path = study / variant.file
        assert variant.size_bytes == path.stat().st_size
        assert variant.latency_low_ms <= variant.latency_ms <= variant.latency_high_ms
        assert variant.latency_ratio == pytest.approx(variant.latency_ms / 0.02)
        assert 0 <= variant.score <= 1
        assert "BatchNormalization" not in {node.op_type for node in onnx.load(path).graph.node}
        metadata = onnxruntime_cpu.load(path, onnxruntime_cpu.Config()).metadata()
        assert metadata.study == "wave-1"
        assert metadata.trial == variant.trial_id
        assert metadata.frame_rate == 10
    named = {variant.trial_id for variant in table.variants}
    out = {row.trial_id for row in table.left_out}
    assert not named & out


def test_the_table_in_its_other_forms(built: Built) -> None:
    study, table = built.study, built.table
    assert not [step for step in built.steps if "regist" in step]  # there is no registry to take them over
    rows = list(csv.DictReader((study / "table.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == [variant.name for variant in table.variants]
    assert [float(row["f1"]) for row in rows] == [variant.score for variant in table.variants]
    text = (study / "table.md").read_text()
    assert all(
        f"| {variant.name} | {variant.score:.4f} ({variant.score_low:.3f} to " in text for variant in table.variants
    )
    assert f"{table.floor:.4f}" in text
    picture = cv2.imread(str(study / "front.png"))
    assert picture is not None
    assert picture.std() > 10
    keys = {
        "name",
        "score",
        "val_score",
        "latency_ms",
        "latency_low_ms",
        "latency_high_ms",
        "latency_ratio",
        "size_bytes",
        "params",
    }
    assert keys | {"runtime", "file", "config"} <= json.loads((study / "table.json").read_text())["variants"][0].keys()


def test_the_widest_legend_is_within_the_picture(built: Built, tmp_path: Path) -> None:
    below = built.table.model_copy(update={"floor": 0.01})
    plot(below, records.trial_records(built.study), tmp_path / "front.png")
    picture = cv2.imread(str(tmp_path / "front.png"))
    assert picture is not None
    assert (picture[:, [0, -1]] == 255).all()


def test_the_constant_predictor_is_told_in_words(built: Built) -> None:
    table = built.table
    line = f'\n\n- Always calling "{table.labels[1]}" scores F1 {table.floor:.4f} on the test split.\n- Latency: '
    assert line in markdown(table)
    three = markdown(table.model_copy(update={"labels": ["left", "right", "none"], "floor": 0.25}))
    assert "\n- F1 is the mean over the 3 classes; the best constant predictor scores 0.2500 on the test split" in three
    assert "Always calling" not in three


def test_every_kind_of_network_has_a_row_in_words(built: Built) -> None:
    table = built.table
    networks: list[tuple[dict[str, object], str]] = [
        ({}, "baseline, avg, rgb, width 32, depth 4, 32 px |"),
        ({"head": {"mlp_mixer": {"grid": "2x2"}}, "image_size": "48x32"}, "baseline, mlp_mixer, rgb, width 32, "),
        ({"sequence": {"frame_stack": {"frames": 3}}}, "baseline, avg, rgb, width 32, depth 4, 32 px, 3 frames |"),
        (
            {"sequence": {"frame_stack": {"frames": 3, "differences": True}}},
            "baseline, avg, rgb, width 32, depth 4, 32 px, 3 frames as differences |",
        ),
        ({"sequence": {"lstm": {"frames": 5}}}, "| baseline, lstm, rgb, width 32, depth 4, 32 px, 5 frames |"),
        ({"sequence": {"3dcnn": {"frames": 6}}, "color": "lab"}, "| cnn3d, lab, width 32, 32 px, 6 frames |"),
    ]
    for model, told in networks:
        config = TrialConfig.model_validate({"model": model}).resolved()
        row = table.variants[0].model_copy(update={"config": config})
        assert told in markdown(table.model_copy(update={"variants": [row]}))


def test_what_fails_parity_is_left_out_and_says_why(study: Path, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = front.parity

    def spoilt(config: object, network: object, artifact: Path, *rest: object) -> object:
        outcome, outputs = real(config, network, artifact, *rest)  # type: ignore[arg-type]
        is_spoilt = artifact.stem == "00002"
        return (outcome.model_copy(update={"max_difference": 0.2}) if is_spoilt else outcome), outputs

    monkeypatch.setattr(front, "parity", spoilt)
    table, _ = build_table(study, BuildRequest(recipe=recipe), [], lambda _: None)
    if any(row.trial_id == "00002" for row in front_trials(list(records.trial_records(study)))):
        (reason,) = [row.reason for row in table.left_out if row.trial_id == "00002"]
        assert "largest difference 2.0e-01" in reason
    assert all(variant.trial_id != "00002" for variant in table.variants)


def test_a_checkpoint_that_was_changed_is_not_built(study: Path, recipe: str) -> None:
    for record in front_trials(list(records.trial_records(study))):
        path = study / "trials" / record.trial_id / "checkpoint.pt"
        path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(StudyError, match="no candidate could be exported") as error:
        build_table(study, BuildRequest(recipe=recipe), [], lambda _: None)
    assert "must be the file its trial wrote" in str(error.value)
    assert not (study / "table.json").exists()


def test_a_failed_build_keeps_the_earlier_ladder(study: Path, recipe: str) -> None:
    before, _ = build_table(study, BuildRequest(recipe=recipe), [], lambda _: None)
    for path in (study / "trials").glob("*/checkpoint.pt"):
        path.unlink()
    with pytest.raises(StudyError):
        build_table(study, BuildRequest(recipe=recipe), [], lambda _: None)
    assert records.load(LadderTable, study / "table.json") == before
    assert all((study / variant.file).is_file() for variant in before.variants)


def test_data_that_changed_is_refused(study: Path, recipe: str, tmp_path: Path) -> None:
    from whc.data.synthetic import render

    other = render(tmp_path / "other", clips=12, seed=5)
    text = (study / "study.yaml").read_text()
    data = next(line for line in text.splitlines() if line.startswith("data:"))
    (study / "study.yaml").write_text(text.replace(data, f"data: {other}"))
    with pytest.raises(DataError, match="must be the data set that the study searched"):
        build_table(study, BuildRequest(recipe=recipe), [], lambda _: None)


def test_the_data_of_a_copied_project_are_its_own(study: Path, tmp_path: Path) -> None:
    data = Path(StudyRecord.load(study).data_shown)
    for project in ("first", "copy"):
        shutil.copytree(study, tmp_path / project / "runs" / "wave-1")
        shutil.copyfile(data, tmp_path / project / "data.parquet")
    first, copy = (tmp_path / project / "runs" / "wave-1" for project in ("first", "copy"))
    named = records.data_name(tmp_path / "first" / "data.parquet", first)
    searched = StudyRecord.load(study).model_copy(update={"data": [named]})
    (tmp_path / "first" / "data.parquet").write_bytes(b"changed since")
    trials = front_trials(list(records.trial_records(copy)))
    assert build._load(searched, copy, trials).fingerprint
    with pytest.raises(DataError, match=r"first/data\.parquet: must be a readable Parquet file"):
        build._load(searched, first, front_trials(list(records.trial_records(copy))))


def test_a_study_without_finished_trials_is_refused(study: Path, recipe: str) -> None:
    for record in list(records.trial_records(study)):
        failed = record.model_copy(update={"state": "failed", "reason": "NaN"})
        records.save(failed, study / "trials" / record.trial_id / "record.json")
    with pytest.raises(StudyError, match="must hold finished trials"):
        build_table(study, BuildRequest(recipe=recipe), [], lambda _: None)


def test_two_builds_of_one_study_at_once(study: Path, recipe: str) -> None:
    with records.locked(study), pytest.raises(StudyError, match="must not be in use"):
        build_table(study, BuildRequest(recipe=recipe), [], lambda _: None)


def test_recipe_errors_are_told_together(study: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("prefix: 'Wrong Prefix'\nmax_variants: 9\nparity: {max_diference: 1}\n")
    with pytest.raises(UsageError) as error:
        build_table(study, BuildRequest(recipe=str(path)), [], lambda _: None)
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{path}: ") for line in lines)
    assert "did you mean 'max_difference'?" in str(error.value)


def test_the_front_holds_only_finished_undominated_trials(study: Path) -> None:
    trials = list(records.trial_records(study))
    assert all(isinstance(trial, TrialRecord) and trial.state == "finished" for trial in trials)
    chosen = front_trials(trials)
    latencies = [trial.latency.ms for trial in chosen if trial.latency]
    assert latencies == sorted(latencies)
    best = max(trials, key=lambda trial: trial.val_score or 0)
    assert best.trial_id in {trial.trial_id for trial in chosen} or any(
        trial.val_score == best.val_score for trial in chosen
    )


def test_nothing_near_the_constant_predictor_is_named(study: Path, quick: str, tmp_path: Path) -> None:
    strict = tmp_path / "strict.yaml"
    strict.write_text(quick.replace("min_over_floor: 0\n", "min_over_floor: 0.9\n"))
    with pytest.raises(StudyError, match="not better than the constant predictor") as error:
        build_table(study, BuildRequest(recipe=str(strict)), [], lambda _: None)
    assert "by 0.9" in str(error.value)


def test_test_scores_that_disagree_are_flagged(study: Path, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = variants.judged

    def spoilt(exported: Exported, corpus: Corpus, split: str, outputs: Outputs) -> Evidence:
        evidence = real(exported, corpus, split, outputs)
        counts = evidence.judgement
        assert isinstance(counts, ConfusionCounts)
        return replace(evidence, judgement=replace(counts, called=counts.called * 0))

    monkeypatch.setattr(variants, "judged", spoilt)
    table, _ = build_table(study, BuildRequest(recipe=recipe), [], lambda _: None)
    assert all(variant.score == 0 for variant in table.variants)
    assert all("test F1 is not above that of the constant predictor" in variant.notes for variant in table.variants)
    assert "constant predictor" in (study / "table.md").read_text()


def test_a_ladder_without_a_test_split(untested: Path, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is scored on test, and wherever such a score would stand it says so."""
    legends: list[str] = []
    monkeypatch.setattr(Axes, "set_title", lambda axes, _: legends.extend(axes.get_legend_handles_labels()[1]))
    steps: list[str] = []
    table, _ = build_table(untested, BuildRequest(recipe=recipe), [], steps.append)
    assert not any("test split" in step for step in steps)
    assert table == records.load(LadderTable, untested / "table.json")
    corpus = load(Path(StudyRecord.load(untested).data_shown), [(16, 16)], Classification)
    constant = TrialConfig().task_for(corpus.labels).floor(windows(corpus, "val", 1).targets)
    assert table.floor_shown == (constant, "validation")

    written = json.loads((untested / "table.json").read_text())
    assert (written["test_split"], written["floor"], written["val_floor"]) == (False, None, constant)
    for row in written["variants"]:
        assert (row["score"], row["score_low"], row["score_high"]) == (None, None, None)
        assert row["score_changed"] == {"-12": None, "+12": None}
        assert 0 < row["val_score"] <= 1
        assert not any("test F1" in note for note in row["notes"])
    for row in csv.DictReader((untested / "table.csv").read_text().splitlines()):
        assert (row["f1"], row["f1_low"], row["f1_high"], row["test_split"]) == ("", "", "", "False")

    text = (untested / "table.md").read_text()
    assert f"\n**{table.metric.untested}.**\n" in text
    for variant in table.variants:
        assert f"\n| {variant.name} | no test split | no test split | {variant.val_score:.4f} (" in text
    assert f'Always calling "waving_hand" scores F1 {constant:.4f} on the validation split.' in text
    assert "scored once" not in text
    assert "ladder, test F1: no test split" in legends
    assert any(legend.startswith(f"constant predictor: {constant:.3f} on validation") for legend in legends)


def test_a_template_that_cannot_show_a_missing_score(
    untested: Path, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = tmp_path / "factory" / "table.md.j2"
    template.parent.mkdir()
    template.write_text('{{ "%.4f" | format(table.variants[0].score) }}')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"table\.md\.j2: must be a jinja2 template, got: .*; mend the template"):
        build_table(untested, BuildRequest(recipe=recipe), [], lambda _: None)


def test_every_score_has_its_evidence(built: Built) -> None:
    table = built.table
    assert table.confidence == 0.01
    assert 1 <= table.variants_at_95 <= len(table.variants)
    for variant in table.variants:
        assert variant.score_low <= variant.score <= variant.score_high
        assert variant.score_changed.keys() == {"-12", "+12"}
        assert all(0 <= f1 <= 1 for f1 in variant.score_changed.values())
        assert list(variant.seeds) == ["0"]


def test_confidence_decides_how_many_are_told_apart(built: Built, study: Path, quick: str, tmp_path: Path) -> None:
    sure_recipe = tmp_path / "sure.yaml"
    sure_recipe.write_text(quick.replace("confidence: 0.01", "confidence: 1").replace("min_gain: 0", "min_gain: 0.3"))
    table, _ = build_table(study, BuildRequest(recipe=str(sure_recipe)), [], lambda _: None)
    assert len(table.variants) == 1 <= len(built.table.variants)
    merged = [row.reason for row in table.left_out if "not told apart" in row.reason]
    # Which trials reach the front is the timing's to say; what keeps each of the others out is not.
    others = [row.reason for row in table.left_out if row.reason not in merged]
    assert all("dominated by" in reason or "constant predictor" in reason for reason in others)
    too_little = re.compile(r"not told apart: it gains (\S+) F1 over trial \d+, which is faster \(must be 0\.3 F1\)")
    told = [too_little.fullmatch(reason) for reason in merged]
    unsure = [reason for reason, match in zip(merged, told, strict=True) if not match]
    assert all(float(match[1]) < 0.3 for match in told if match)
    assert all("a gain of 0.3 F1 over trial" in reason and "% sure (must be 100%)" in reason for reason in unsure)


def test_candidates_are_scored_on_the_same_rows(study: Path, tmp_path: Path) -> None:
    trials, about = list(records.trial_records(study)), StudyRecord.load(study)
    corpus, runtime = (
        load(Path(about.data_shown), [(16, 16)], Classification),
        ChoiceOf("runtimes").parse("onnxruntime_cpu"),
    )
    fitted = [as_searched(trial, study) for trial in trials]
    exported, _ = front.export_all(
        fitted, tmp_path, corpus, runtime, ParityLimits(), FinishedResults(tmp_path / "finished"), lambda _: None
    )
    evidence = front.score_all(exported, corpus)
    timed = session([one.artifact for one in exported], runtime, Protocol(min_rounds=5, max_rounds=5))
    judged_candidates, failed = front.candidates(exported, evidence, timed, "here")
    assert failed == []
    frames = [candidate.exported.config.model.frames for candidate in judged_candidates]
    assert sorted(frames) == [2, 4, 6]
    longest = windows(corpus, "val", 6).targets
    for candidate, alone in zip(judged_candidates, frames, strict=True):
        judged = candidate.evidence.judgement
        assert isinstance(judged, ConfusionCounts)
        assert judged.real.tolist() == longest.tolist()
        assert len(windows(corpus, "val", alone).targets) >= len(longest)
        counts = judged.counts
        assert candidate.val_score == pytest.approx(2 * counts[1, 1] / (counts.sum(0) + counts.sum(1))[1])
