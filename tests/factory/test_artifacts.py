"""Other kinds of file of a ladder's variants: kept where they pay, dropped with a reason where not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whc import records
from whc.config import validate
from whc.errors import ArtifactError, UsageError
from whc.factory import artifacts, build, other_files
from whc.factory.build import build_table
from whc.factory.opening import BuildRequest
from whc.factory.recipe import Recipe
from whc.factory.table import markdown
from whc.latency import first_pass
from whc.pages import Table
from whc.records import LadderTable, LatencySession
from whc.search.showing import ladder_sections

RECIPE = """
prefix: hand
min_gain: 0
confidence: 0.5
min_over_floor: 0
refit: {{seeds: 0}}
timing: {{min_rounds: 10, max_rounds: 20}}
artifacts: [{kinds}]
max_loss: {max_loss}
"""
Session = Callable[..., LatencySession]
Build = Callable[..., tuple[LadderTable, Path]]


@pytest.fixture
def built(
    searched: Path,
    tmp_path: Path,
    timed_as: Callable[..., Session],
    monkeypatch: pytest.MonkeyPatch,
) -> Build:
    """Builds the ladder, in which a file of an artifact takes `ratio` of its ONNX file's time."""
    study = Path(shutil.copytree(searched / "wave-1", tmp_path / "runs" / "wave-1"))

    def make(ratio: float, max_loss: float = 0.5, kinds: str = "onnx_int8", **request: Any) -> tuple[LadderTable, Path]:
        def session(paths: Sequence[Path], *rest: object) -> LatencySession:
            stems = [path.stem for path in paths]
            ratios = {stem: ratio if "." in stem else 1 + number for number, stem in enumerate(sorted(stems))}
            return timed_as(ratios)(paths, *rest)

        monkeypatch.setattr(build, "session", session)
        (tmp_path / "recipe.yaml").write_text(RECIPE.format(kinds=kinds, max_loss=max_loss))
        asked = BuildRequest(recipe=str(tmp_path / "recipe.yaml"), **request)
        return build_table(study, asked, [], lambda step: None)[0], study

    return make


def verdicts(table: LadderTable) -> set[str]:
    return {tried.verdict for row in table.variants for tried in row.artifacts}


def test_a_faster_one_is_kept(built: Build) -> None:
    table, study = built(ratio=0.5)
    assert records.load(LadderTable, study / "table.json") == table
    for row in table.variants:
        (tried,) = row.artifacts
        assert (tried.kind, tried.verdict, tried.runtime) == ("onnx_int8", "kept: faster", "onnxruntime_cpu")
        assert tried.file == f"ladder/{row.name}.onnx_int8.onnx"
        assert records.sha256(study / tried.file) == tried.sha256
        assert tried.size_bytes == (study / tried.file).stat().st_size
        assert tried.val_score == pytest.approx(row.val_score, abs=0.2)
        assert tried.ratio_low < tried.ratio_to_onnx < tried.ratio_high < 1
    text = markdown(table)
    assert f"| {table.variants[0].name} | onnx_int8 | " in text
    assert text.count("| kept: faster |") == len(table.variants)
    (section,) = [part for part in ladder_sections.variants(table, None, study) if part.title == "Other kinds of file"]
    (shown,) = [part for part in section.parts if isinstance(part, Table)]
    assert [row[-2:] for row in shown.rows] == [["kept: faster", row.artifacts[0].file] for row in table.variants]


def test_one_that_is_neither_faster_nor_smaller_is_dropped(built: Build) -> None:
    table, study = built(ratio=9)
    assert verdicts(table) == {"dropped: neither distinguishably faster nor 40 % smaller"}
    assert all(not tried.file and tried.val_score is not None for row in table.variants for tried in row.artifacts)
    assert not list((study / "ladder").glob("*int8*"))


def test_one_that_scores_less_is_dropped(built: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    real = other_files.predictions
    monkeypatch.setattr(other_files, "predictions", lambda *given: (1 - outputs for outputs in real(*given)))
    table, study = built(ratio=0.5, max_loss=0.01)
    assert all(verdict.startswith("dropped: validation F1 0.") for verdict in verdicts(table))
    assert all("within 0.01 of the score in 0% of the resamples, not 50%" in verdict for verdict in verdicts(table))
    assert not list((study / "ladder").glob("*int8*"))


def test_one_that_cannot_be_made_says_why(built: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> None:
        raise ArtifactError("it has an operator that is missing")

    monkeypatch.setattr(other_files, "export", refuse)
    table, _ = built(ratio=0.5)
    assert verdicts(table) == {"dropped: it has an operator that is missing"}
    assert "| dropped: it has an operator that is missing |" in markdown(table)


def test_one_that_crashes_its_runtime_ends_no_build(built: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried in a process of its own before it runs in this one."""

    def crash(path: Path, *given: object) -> None:
        raise ArtifactError("it must run on litert, got SIGABRT")

    monkeypatch.setattr(first_pass, "check", crash)
    monkeypatch.setattr(other_files, "predictions", None)
    table, _ = built(ratio=0.5)
    assert verdicts(table) == {"dropped: it must run on litert, got SIGABRT"}


def test_a_second_build_makes_none_again(built: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    first, study = built(ratio=0.5)
    monkeypatch.setattr(other_files, "export", None)
    again, _ = built(ratio=0.5)
    assert again.variants == first.variants
    assert all((study / tried.file).is_file() for row in again.variants for tried in row.artifacts)


def test_latencies_of_another_device_are_not_mixed_with_those_of_here(
    built: Build, timed_as: Callable[..., Session], tmp_path: Path
) -> None:
    first, study = built(ratio=0.5)
    files = sorted((study / "candidates").glob("*.onnx"))
    timed = timed_as({path.stem: 1 + number for number, path in enumerate(files)})(files)
    records.save(timed, tmp_path / "device.json")
    table, _ = built(ratio=0.5, latency_from=tmp_path / "device.json")
    assert verdicts(table) == {artifacts.NOT_TIMED_HERE}
    assert len(table.variants) == len(first.variants)


@pytest.mark.parametrize("kinds", [["onnx"], ["onnx_int8", "onnx_int8"]])
def test_kinds_that_make_no_sense(kinds: list[str]) -> None:
    rule = r"^recipe: artifacts: must name each kind once, and not onnx, which is always made, got onnx"
    with pytest.raises(UsageError, match=rule):
        validate(Recipe, {"artifacts": kinds}, "recipe")


def test_a_missing_converter_is_told_before_anything_is_trained(
    built: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs the extra litert")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "refit", None)
    with pytest.raises(UsageError, match=r"^converter to LiteRT: must be set up, got nothing in .*--setup-litert"):
        built(ratio=0.5, kinds="litert_int8")


def test_calibration_is_of_the_training_split_with_black_and_white(bright_corpus: Any) -> None:
    from whc.trials.calibration import calibration_inputs
    from whc.trials.config import TrialConfig

    config = TrialConfig.model_validate({"model": {"image_size": 16, "sequence": {"frame_stack": {"frames": 2}}}})
    inputs = calibration_inputs(config, bright_corpus)
    assert inputs.shape[1:] == config.model.input_shape
    assert (inputs[-2].max(), inputs[-1].min()) == (0, 1)
    training = bright_corpus.images[16, 16][bright_corpus.splits == 0].astype(np.float32) / 255
    known = {picture.transpose(2, 0, 1).tobytes() for picture in training}
    assert all(picture[:3].tobytes() in known for picture in inputs[:-2])
