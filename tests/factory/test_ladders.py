"""Several ladders of one study: each of its own kind of file on its own runtime, with its own scores and order."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from whc import records
from whc.config import validate
from whc.errors import ArtifactError, StudyError, UsageError, WhcError
from whc.factory import build, other_files
from whc.factory.build import build_table
from whc.factory.drift import check
from whc.factory.opening import BuildRequest, open_study
from whc.factory.plan import plan
from whc.factory.recipe import Recipe
from whc.latency.timer import TimingPlace
from whc.records import LadderTable, LatencySession
from whc.search.showing import report

RECIPE = """
prefix: hand
min_gain: 0
confidence: 0.5
min_over_floor: 0
refit: {seeds: 0}
timing: {min_rounds: 10, max_rounds: 20}
ladders:
- {artifact: onnx, runtime: onnxruntime_cpu}
- {artifact: onnx_int8, runtime: {onnxruntime_cpu: {threads: 2}}, prefix: hand_int8}
"""
Session = Callable[..., LatencySession]
Built = tuple[LadderTable, Path]


@pytest.fixture
def built(
    searched: Path, tmp_path: Path, timed_as: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Built]:
    """Builds the ladders. The network that is the slowest as ONNX is the fastest as int8."""
    study = Path(shutil.copytree(searched / "wave-1", tmp_path / "runs" / "wave-1"))

    def session(paths: Sequence[Path], *rest: object) -> LatencySession:
        stems = sorted(path.stem for path in paths)
        slower_and_slower = stems[::-1] if "." in stems[0] else stems
        return timed_as({stem: 1.0 + number for number, stem in enumerate(slower_and_slower)})(paths, *rest)

    monkeypatch.setattr(build, "session", session)

    def make(recipe: str = RECIPE, **request: Any) -> Built:
        (tmp_path / "recipe.yaml").write_text(recipe)
        asked = BuildRequest(recipe=str(tmp_path / "recipe.yaml"), **request)
        return build_table(study, asked, [], lambda step: None)[0], study

    return make


def test_each_ladder_has_its_own_names_files_and_order(
    built: Callable[..., Built], load_file: object, timed_as: Callable[..., Session]
) -> None:
    table, study = built()
    assert records.load(LadderTable, study / "table.json") == table
    first, second = table.ladders
    assert [(ladder.prefix, ladder.artifact, ladder.runtime) for ladder in table.ladders] == [
        ("hand", "onnx", {"onnxruntime_cpu": {"threads": 1}}),
        ("hand_int8", "onnx_int8", {"onnxruntime_cpu": {"threads": 2}}),
    ]
    assert len(first.variants) > 1
    assert second.variants[0].trial_id == first.variants[-1].trial_id
    for row in second.variants:
        assert (row.name.rpartition("_")[0], row.file) == ("hand_int8", f"ladder/{row.name}.onnx")
        assert records.sha256(study / row.file) == row.sha256
        assert row.notes[0].startswith("beside its ONNX file on the study's runtime: largest difference ")
    # Scores are those of these very files: scored again, and timed as they were, nothing has changed.
    ratios = {row.name: row.latency_ratio or 0.0 for ladder in table.ladders for row in ladder.variants}
    checked = check(study, lambda runtime: load_file, timed_as(ratios), lambda step: None)  # type: ignore[arg-type,return-value]
    assert (checked.drifts, checked.variants) == ([], len(ratios))


def test_the_files_of_a_study_show_all_ladders(built: Callable[..., Built]) -> None:
    table, study = built()
    names = [row.name for ladder in table.ladders for row in ladder.variants]
    rows = list(csv.DictReader((study / "table.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == names
    assert {row["artifact"] for row in rows} == {"onnx", "onnx_int8"}
    text = (study / "table.md").read_text()
    assert all(f"\n| {name} | " in text for name in names)
    assert re.search(r"^# wave-1: \d variants?, onnx_int8 on onnxruntime_cpu$", text, re.MULTILINE)
    page = report.draw(study).read_text()
    headings = [part.split("</h2>")[0] for part in page.split("<h2>")[1:]]
    assert headings[:4] == [
        "Ladders side by side",
        "Ladder hand: onnx on onnxruntime_cpu",
        "Ladder hand_int8: onnx_int8 on onnxruntime_cpu",
        "Front",
    ]
    assert {"Variants of hand", "Variants of hand_int8"} <= set(headings)
    assert all(f"whc demo --model {name}" in page for name in names)


def test_a_second_build_makes_no_file_again(built: Callable[..., Built], monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = built()
    monkeypatch.setattr(other_files, "export", None)
    again, study = built()
    assert [ladder.variants for ladder in again.ladders] == [ladder.variants for ladder in first.ladders]
    request = BuildRequest(recipe=str(study.parents[1] / "recipe.yaml"))
    planned = plan(open_study(study, request), request)
    assert [(ladder.to_make, ladder.is_timed) for ladder in planned.ladders] == [(0, False)] * 2


def test_some_ladders_are_picked_by_their_runtime(built: Callable[..., Built]) -> None:
    openvino = "- {artifact: onnx, runtime: openvino, prefix: hand_vino}\n"
    pytest.importorskip("openvino", reason="needs the extra openvino")
    table, _ = built(RECIPE + openvino, runtimes=("openvino",))
    assert [(ladder.prefix, ladder.runtime) for ladder in table.ladders] == [
        ("hand_vino", {"openvino": {"threads": 1}})
    ]
    rule = r"^--runtime: must be the runtime of one of the recipe's ladders \(onnxruntime_cpu, .*\), got 'litert'; add"
    with pytest.raises(UsageError, match=rule):
        built(runtimes=("litert",))


def test_one_file_of_latencies_serves_the_ladders_whose_files_it_holds(
    built: Callable[..., Built], timed_as: Callable[..., Session], tmp_path: Path
) -> None:
    _, study = built()
    files = sorted((study / "candidates").glob("*.onnx"))
    timed = timed_as({path.stem: 5.0 - number / 2 for number, path in enumerate(files)})(files)
    records.save(timed, tmp_path / "device.json")
    served, _ = built(latency_from=tmp_path / "device.json")
    measured = {Path(file.path).name: file.latency.ms for file in timed.files}
    names = ("{}.onnx", "{}.onnx_int8.onnx")
    for ladder, name in zip(served.ladders, names, strict=True):
        assert all(measured[name.format(row.trial_id)] == row.latency_ms for row in ladder.variants)
    onnx_alone = [file for file in timed.files if "int8" not in file.path]
    records.save(timed.model_copy(update={"files": onnx_alone}), tmp_path / "device.json")
    rule = (
        r"device\.json: onnx_int8 on onnxruntime_cpu: must hold latencies of this ladder's 2 candidates, got '2 other"
    )
    with pytest.raises(ArtifactError, match=rule):
        built(latency_from=tmp_path / "device.json")
    assert records.load(LadderTable, study / "table.json") == served


def test_a_ladder_without_candidates_is_named(built: Callable[..., Built], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> None:
        raise ArtifactError("it has an operator that is missing")

    monkeypatch.setattr(other_files, "export", refuse)
    rule = r"for the ladder of onnx_int8 on onnxruntime_cpu, got trial 00000: it has an operator .* pick ladders with"
    with pytest.raises(StudyError, match=rule):
        built()


def test_a_timer_must_run_what_the_ladders_run_on(built: Callable[..., Built]) -> None:
    class Device:
        place = TimingPlace(host="phone", runtime="openvino", threads=1, settings={})

    _, study = built()
    request = BuildRequest(recipe=str(study.parents[1] / "recipe.yaml"))
    rule = (
        r"^--time-on: must time the ladder of onnx on onnxruntime_cpu on that runtime, got 'openvino on phone'; serve"
    )
    with pytest.raises(UsageError, match=rule):
        open_study(study, request, Device())  # type: ignore[arg-type]


WRONG = {
    "no prefix": ("- {artifact: onnx_int8, runtime: onnxruntime_cpu}", r"ladders: 1\.prefix: must be given for each"),
    "twice": (
        "- {artifact: onnx, runtime: onnxruntime_cpu, prefix: b}",
        r"ladders: must differ in kind of file or run",
    ),
    "one prefix": ("- {artifact: onnx_int8, runtime: onnxruntime_cpu, prefix: hand}", r"must differ|must be given for"),
    "no reader": (
        "- {artifact: litert, runtime: onnxruntime_cpu, prefix: b}",
        r"runtime: must read the \.tflite files",
    ),
    "no runtime": ("- {artifact: litert, runtime: lite, prefix: b}", r"ladders\.1\.runtime: must be one of"),
}


@pytest.mark.parametrize("case", WRONG)
def test_ladders_that_make_no_sense(case: str, built: Callable[..., Built]) -> None:
    line, rule = WRONG[case]
    with pytest.raises(WhcError, match=rule) as caught:
        built(RECIPE.rpartition("- {")[0] + line)
    assert "\n" not in str(caught.value)


def test_artifacts_are_made_of_a_ladder_of_onnx() -> None:
    int8 = {"artifact": "onnx_int8", "runtime": "onnxruntime_cpu"}
    with pytest.raises(
        UsageError, match=r"artifacts: must have a ladder of onnx, whose variants they are made of, got"
    ):
        validate(Recipe, {"artifacts": ["onnx_int8"], "ladders": [int8]}, "recipe")
