"""What `whc factory check` finds, on ladders of tiny files that are planted with one fault each."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest

from whc import records
from whc.errors import StudyError
from whc.factory.drift import Checked, check
from whc.factory.scoring import Model
from whc.records import LadderTable, LatencySession, ModelMetadata, TriedArtifact

VARIANTS = {"hand_s": (0.7, 1.0), "hand_m": (0.6, 2.0), "hand_l": (0.5, 4.0)}
RATIOS = {name: ratio for name, (_, ratio) in VARIANTS.items()}
PEOPLE = [f"p{i}" for i in range(8)]

Ladder = tuple[LadderTable, Path]


@pytest.fixture
def ladder(make_ladder: Callable[..., Ladder]) -> Ladder:
    return make_ladder("hands", VARIANTS, PEOPLE)


@pytest.fixture
def check_ladder(
    ladder: Ladder, load_file: Callable[..., Model], timed_as: Callable[..., Callable[..., LatencySession]]
) -> Callable[..., Checked]:
    """Checks the ladder as if its files had these ratios to the reference network."""

    def run(noisy: bool = False, **ratios: float) -> Checked:
        return check(ladder[1], lambda runtime: load_file, timed_as(RATIOS | ratios, noisy), lambda step: None)

    return run


def found(checked: Checked) -> list[tuple[str, str]]:
    return [(drift.variant, drift.kind) for drift in checked.drifts]


def test_an_unchanged_ladder_passes(check_ladder: Callable[..., Checked]) -> None:
    checked = check_ladder()
    assert found(checked) == []
    assert checked.notes == []


def test_a_planted_slowdown_is_found(check_ladder: Callable[..., Checked]) -> None:
    checked = check_ladder(hand_m=2.2)
    assert found(checked) == [("hand_m", "latency")]
    assert "(+10%)" in checked.drifts[0].words


@pytest.mark.parametrize("ratio", [1.92, 2.08])
def test_a_small_change_is_no_drift(check_ladder: Callable[..., Checked], ratio: float) -> None:
    assert found(check_ladder(hand_m=ratio)) == []


def test_neighbours_that_change_places_are_found(check_ladder: Callable[..., Checked]) -> None:
    assert ("hand_m", "order") in found(check_ladder(hand_m=4.5))


def test_a_swapped_file_is_found(check_ladder: Callable[..., Checked], ladder: Ladder) -> None:
    folder = ladder[1] / "ladder"
    shutil.copyfile(folder / "hand_l.onnx", folder / "hand_m.onnx")
    assert found(check_ladder()) == [("hand_m", "hash"), ("hand_m", "score")]


def test_a_changed_label_map_is_found(check_ladder: Callable[..., Checked], ladder: Ladder) -> None:
    path = ladder[1] / "ladder" / "hand_m.onnx"
    model = onnx.load(path)
    (labels,) = (item for item in model.metadata_props if item.key == "whc.labels")
    labels.value = '["bright", "dark"]'
    onnx.save(model, path)
    checked = check_ladder()
    assert found(checked) == [("hand_m", "labels")]


def test_a_missing_file_is_found(check_ladder: Callable[..., Checked], ladder: Ladder) -> None:
    (ladder[1] / "ladder" / "hand_s.onnx").unlink()
    checked = check_ladder()
    assert found(checked) == [("hand_s", "file")]
    assert "is missing; `whc factory build-table --study " in checked.drifts[0].words


@pytest.fixture
def kept(ladder: Ladder, write_litert: Callable[..., Path], make_metadata: Callable[..., ModelMetadata]) -> Path:
    """A .tflite file that hand_m keeps, right everywhere, and faster: 0.5 times as long as the reference network."""
    table, folder = ladder
    path = folder / "ladder" / "hand_m.litert.tflite"
    write_litert(path, make_metadata(labels=["dark", "bright"]).to_properties(), (8, 8))
    figures = {"val_score": 1.0, "latency_ratio": 0.5, "ratio_to_onnx": 0.25, "ratio_low": 0.245, "ratio_high": 0.255}
    about = {"file": "ladder/hand_m.litert.tflite", "sha256": records.sha256(path), "runtime": "litert"}
    artifact = TriedArtifact(kind="litert", verdict="kept: faster", **about, **figures)
    dropped = TriedArtifact(kind="onnx_int8", verdict="dropped: it could not be timed")
    rows = [
        row.model_copy(update={"artifacts": [dropped, artifact] if row.name == "hand_m" else []})
        for row in table.variants
    ]
    change_table(ladder, variants=rows)
    return path


def test_other_files_that_are_kept_are_judged_too(check_ladder: Callable[..., Checked], kept: Path) -> None:
    assert found(check_ladder(**{"hand_m.litert": 0.5})) == []
    checked = check_ladder(**{"hand_m.litert": 0.6})
    assert found(checked) == [(kept.name, "latency")]
    assert "latency is 0.600 x ref, recorded was 0.500 (+20%)" in checked.drifts[0].words
    assert checked.notes == []


def test_a_damaged_file_is_found_by_its_hash_and_not_loaded(check_ladder: Callable[..., Checked], kept: Path) -> None:
    content = bytearray(kept.read_bytes())
    content[8:40] = b"\xff" * 32
    kept.write_bytes(content)
    assert found(check_ladder()) == [(kept.name, "hash")]
    kept.unlink()
    checked = check_ladder()
    assert found(checked) == [(kept.name, "file")]
    assert f"{kept} is missing; `whc factory build-table --study " in checked.drifts[0].words


def test_a_score_that_changed_is_found(check_ladder: Callable[..., Checked], kept: Path, ladder: Ladder) -> None:
    """As with another version of LiteRT."""
    (row,) = (row for row in records.load(LadderTable, ladder[1] / "table.json").variants if row.artifacts)
    artifacts = [row.artifacts[1].model_copy(update={"val_score": 0.9})]
    change_table(ladder, variants=[row.model_copy(update={"artifacts": artifacts})])
    checked = check_ladder(**{"hand_m.litert": 0.5})
    assert found(checked) == [(kept.name, "score")]
    assert checked.drifts[0].words.startswith("val score is F1 1.0000, recorded was F1 0.9000")


def test_without_its_runtime_a_file_is_not_judged(
    check_ladder: Callable[..., Checked], kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    checked = check_ladder()
    assert found(checked) == []
    said = f"{kept.name} is not judged: runtime litert: must be installed, got no module 'ai_edge_litert.interpreter'; "
    assert checked.notes[0].startswith(said)


def change_table(ladder: Ladder, **changes: Any) -> None:
    records.save(ladder[0].model_copy(update=changes), ladder[1] / "table.json")


def test_latency_is_not_judged_elsewhere(check_ladder: Callable[..., Checked], ladder: Ladder) -> None:
    change_table(ladder, host="another machine")
    checked = check_ladder(hand_m=3.0)
    assert found(checked) == []
    assert checked.notes[0].startswith("latencies are not judged: they were measured on another machine")


def test_latency_of_another_runtime_is_not_judged(check_ladder: Callable[..., Checked], ladder: Ladder) -> None:
    """As of a ladder that a timer on this machine has timed."""
    rows = [row.model_copy(update={"runtime": "openvino"}) for row in ladder[0].variants]
    change_table(ladder, variants=rows)
    checked = check_ladder(hand_m=3.0)
    assert found(checked) == []
    assert checked.notes == ["latencies are not judged: they are of openvino, the study's runtime is onnxruntime_cpu"]


def test_latency_is_not_judged_on_a_noisy_machine(check_ladder: Callable[..., Checked]) -> None:
    checked = check_ladder(noisy=True, hand_m=3.0)
    assert found(checked) == []
    assert "the machine is busy" in checked.notes[0]


def test_latency_is_not_judged_on_a_busy_machine(
    ladder: Ladder, load_file: Callable[..., Model], timed_as: Callable[..., Callable[..., LatencySession]]
) -> None:
    def busy(paths: Sequence[Path], runtime: object) -> LatencySession:
        return timed_as(RATIOS | {"hand_m": 3.0})(paths).model_copy(update={"reference_ms": 1.2})

    checked = check(ladder[1], lambda runtime: load_file, busy, lambda step: None)
    assert found(checked) == []
    assert "takes 1.2000 ms, 1.0000 ms when it was recorded" in checked.notes[0]


def test_a_drift_must_show_twice(
    ladder: Ladder, load_file: Callable[..., Model], timed_as: Callable[..., Callable[..., LatencySession]]
) -> None:
    slow = iter([2.2, 2.0])

    def once(paths: Sequence[Path], runtime: object) -> LatencySession:
        return timed_as(RATIOS | {"hand_m": next(slow)})(paths)

    assert found(check(ladder[1], lambda runtime: load_file, once, lambda step: None)) == []
    assert next(slow, None) is None


def test_a_table_without_hashes_says_so(check_ladder: Callable[..., Checked], ladder: Ladder) -> None:
    rows = [row.model_copy(update={"sha256": ""}) for row in ladder[0].variants]
    change_table(ladder, variants=rows)
    checked = check_ladder()
    assert found(checked) == []
    assert checked.notes == [
        "hashes of hand_s, hand_m, hand_l are not judged: the table is of an older version without them"
    ]


def test_other_data_are_refused(check_ladder: Callable[..., Checked], ladder: Ladder) -> None:
    change_table(ladder, data_fingerprint="f00d")
    with pytest.raises(StudyError, match="must be the data set of the ladder"):
        check_ladder()
