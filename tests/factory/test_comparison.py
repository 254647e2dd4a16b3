"""Two ladders, or a ladder and foreign files, on the same rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from whc.errors import ArtifactError, StudyError
from whc.factory import measuring
from whc.factory.comparison import Comparison, compare
from whc.factory.measuring import Side, ladder_side
from whc.latency.timing import Protocol
from whc.plugins import ChoiceOf
from whc.records import LadderTable, LatencySession

Ladder = tuple[LadderTable, Path]
OLD_PEOPLE = [f"old {i}" for i in range(12)]
NEW_PEOPLE = [f"new {i}" for i in range(24)]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, timed_as: Callable[..., Callable[..., LatencySession]]
) -> Callable[..., Comparison]:
    """Compares two sides as if their files had these ratios to the reference network."""

    def compared(a: Side, b: Side, **ratios: float) -> Comparison:
        from whc.demo import model as models

        monkeypatch.setattr(measuring, "session", timed_as(ratios))
        runtime = ChoiceOf("runtimes").parse("onnxruntime_cpu")

        def load(path: Path, like: measuring.Model | None) -> measuring.Model:
            return models.load(path, like=like.metadata if like else None)

        return compare({"A": a, "B": b}, load, None, None, runtime, Protocol(), lambda step: None)

    return compared


def test_two_ladders(make_ladder: Callable[..., Ladder], run: Callable[..., Comparison]) -> None:
    new = make_ladder("new", {"hand_m": (0.6, 1.0), "hand_l": (0.5, 3.0)}, NEW_PEOPLE, seed=1)
    old = make_ladder("old", {"hand_s": (0.7, 2.0)}, [*OLD_PEOPLE, NEW_PEOPLE[1]])
    result = run(ladder_side(*new), ladder_side(*old), hand_m=1.0, hand_l=3.0, hand_s=2.0)
    # The last of the old ladder's people is of its training split, and of the new one's validation split.
    assert (result.left_out, result.rows, result.groups) == (12, 132, 11)
    assert [(model.side, model.name, model.rival) for model in result.models] == [
        ("A", "hand_m", "hand_s"),
        ("B", "hand_s", "hand_m"),
        ("A", "hand_l", "hand_s"),
    ]
    fast, slow, best = result.models
    assert fast.gain == -slow.gain > 0
    assert fast.gain_low == pytest.approx(-slow.gain_high)
    assert best.score == 1
    assert best.certainty > 0.95
    assert best.times_rival == 1.5
    assert result.notes == []


def test_foreign_files(make_ladder: Callable[..., Ladder], run: Callable[..., Comparison], tmp_path: Path) -> None:
    """A file without metadata is scored as the ladder's; one that answers something else is left out with a reason."""
    ladder = make_ladder("new", {"hand_m": (0.6, 1.0)}, NEW_PEOPLE)
    model = onnx.load(ladder[1] / "ladder" / "hand_m.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "theirs.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    theirs = Side("files", {name: tmp_path / f"{name}.onnx" for name in ("theirs", "broken")})
    result = run(ladder_side(*ladder), theirs, hand_m=1.0, theirs=1.0)
    ours, other = result.models
    assert ours.score == other.score
    assert (ours.gain, ours.gain_low, ours.gain_high, ours.certainty) == (0, 0, 0, 0)
    assert list(result.failed) == ["B broken"]
    assert result.notes == ["B: its training data are not there, so rows that it was trained on may be among these"]


def test_a_side_without_a_model(
    make_ladder: Callable[..., Ladder], run: Callable[..., Comparison], tmp_path: Path
) -> None:
    ladder = make_ladder("new", {"hand_m": (0.6, 1.0)}, NEW_PEOPLE)
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    with pytest.raises(ArtifactError, match=r"broken\.onnx"):
        run(ladder_side(*ladder), Side("files", {"broken": tmp_path / "broken.onnx"}))


def test_a_ladder_without_its_files(make_ladder: Callable[..., Ladder]) -> None:
    ladder = make_ladder("new", {"hand_m": (0.6, 1.0)}, NEW_PEOPLE)
    (ladder[1] / "ladder" / "hand_m.onnx").unlink()
    with pytest.raises(StudyError, match=r"must hold the file of hand_m.*whc factory build-table --study new"):
        ladder_side(*ladder)
