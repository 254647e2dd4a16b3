"""What validation clips choose, and that the files of a ladder carry it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from whc.config import validate
from whc.data.dataset import Corpus, load
from whc.errors import UsageError
from whc.factory import smoothing
from whc.factory.build import build_table
from whc.factory.front import Exported
from whc.factory.plan import BuildRequest
from whc.factory.recipe import Recipe, SmoothingValues
from whc.runtimes import onnx_file
from whc.tasks.classification import Classification, Config
from whc.tasks.multi_label import Config as MultiLabelConfig
from whc.tasks.multi_label import MultiLabel
from whc.tasks.smoothing import Smoothing
from whc.trials.config import TrialConfig

TASK = Classification(("calm", "wave"), Config())
VALUES = SmoothingValues()
RATE = 10.0


def reel(length: int = 50, runs: int = 20) -> np.ndarray:
    """A truth that changes every `length` frames."""
    return np.tile(np.repeat([0, 1], length), runs // 2)[:, None]


def noisy(truth: np.ndarray, wrong: float, seed: int = 0) -> np.ndarray:
    """Probabilities, of which a share is on the wrong side."""
    rng = np.random.default_rng(seed)
    right = 0.5 + rng.uniform(0.1, 0.5, len(truth)) * np.where(rng.random(len(truth)) < wrong, -1, 1)
    return np.where(truth[:, 0] == 1, right, 1 - right).astype(np.float32)


def test_a_model_without_errors_is_followed_at_once() -> None:
    truth = reel()
    chosen = smoothing.choose(TASK, noisy(truth, 0.0), truth, RATE, VALUES)
    assert (chosen.short_s, chosen.long_s) == (0.1, 0.2)


def test_the_more_errors_the_longer_the_windows() -> None:
    truth = reel()
    delays = [
        max(chosen.short_s, chosen.long_s / 2)
        for wrong in (0.0, 0.1, 0.3)
        for chosen in [smoothing.choose(TASK, noisy(truth, wrong), truth, RATE, VALUES)]
    ]
    assert delays[0] < delays[1] <= delays[2]


def test_worth_is_accuracy_less_flicker() -> None:
    truth = reel(length=10, runs=2)
    assert smoothing.worth(truth, truth, RATE) == 1
    late = np.concatenate([[[-1]], truth[:-1]])  # a frame of each is wrong
    assert smoothing.worth(late, truth, RATE) == pytest.approx(0.9)
    flickering = truth.copy()
    flickering[5] = 1  # two changes too many in 2 s
    assert smoothing.worth(flickering, truth, RATE) == pytest.approx(0.95 - 2 * smoothing.FLICKER_S / 2)


def test_each_label_counts() -> None:
    task = MultiLabel(("cat", "dog"), MultiLabelConfig())
    truth = np.concatenate([reel(), reel(25, 40)], 1)
    outputs = np.stack([noisy(truth[:, :1], 0.1), noisy(truth[:, 1:], 0.1, seed=1)], 1)
    chosen = smoothing.choose(task, outputs, truth, RATE, VALUES)
    plain, smooth = (
        smoothing.worth(smoothing._states(smoothing._votes(task, outputs, law.hysteresis), RATE, law), truth, RATE)
        for law in (Smoothing(0, 0, 0), chosen)
    )
    assert smooth > plain + 0.1


def carried(path: Path) -> Any:
    return onnx_file.read(path)[0].metadata().task_config.get("smoothing")


def candidate(searched: Path, corpus: Corpus, wrong: float) -> Exported:
    """The first trial, as if its network gave these outputs on validation."""
    from whc.data.windows import windows

    config = TrialConfig.model_validate({"model": {"image_size": 16, "sequence": {"frame_stack": {"frames": 2}}}})
    truth = windows(corpus, "val", 2).targets[:, None]
    return cast("Exported", SimpleNamespace(config=config, val_outputs=noisy(truth, wrong)))


@pytest.fixture(scope="module")
def corpus(searched: Path) -> Corpus:
    return load(searched / "synth" / "dataset.parquet", [(16, 16)], Classification)


@pytest.fixture
def file(searched: Path, tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes((searched / "wave-1" / "trials" / "00000" / "model.onnx").read_bytes())
    return path


def test_clips_choose_and_the_file_runs_as_before(searched: Path, corpus: Corpus, file: Path) -> None:
    before = onnx_file.read(file)
    smoothing.carry(file, candidate(searched, corpus, 0.2), corpus, VALUES)
    once = file.read_bytes()
    assert carried(file) in [asdict(each) for each in VALUES.combined]
    after = onnx_file.read(file)
    assert after[1].graph == before[1].graph
    expected = before[0].metadata().task_config | {"smoothing": carried(file)}
    assert after[0].metadata() == before[0].metadata().model_copy(update={"task_config": expected})
    smoothing.carry(file, candidate(searched, corpus, 0.2), corpus, VALUES)
    assert file.read_bytes() == once  # so that a ladder that is built again is registered once


@pytest.mark.parametrize("lacking", ["frame_rate", "clips"])
def test_without_clips_a_file_carries_the_defaults(lacking: str, searched: Path, corpus: Corpus, file: Path) -> None:
    stills = {"frame_rate": None} if lacking == "frame_rate" else {"clips": np.arange(len(corpus.clips))}
    exported = candidate(searched, corpus, 0.2)
    if lacking == "clips":
        config = TrialConfig.model_validate({"model": {"image_size": 16}})
        truth = corpus.targets[corpus.splits == 1][:, None]
        exported = cast("Exported", SimpleNamespace(config=config, val_outputs=noisy(truth, 0.2)))
    smoothing.carry(file, exported, replace(corpus, **stills), VALUES)
    assert carried(file) == asdict(Smoothing())


def test_a_ladder_carries_what_its_recipe_allows(study: Path, quick: str, tmp_path: Path) -> None:
    """Its other kinds of file too; the candidates, which are timed, stay as they were exported."""
    only = "smoothing: {short_s: [0.3], long_s: [0.7], hysteresis: [0.05]}\nartifacts: [onnx_int8]\nmax_loss: 0.5\n"
    (tmp_path / "own.yaml").write_text(quick + only)
    table, _ = build_table(study, BuildRequest(recipe=str(tmp_path / "own.yaml")), [], lambda step: None)
    law = {"short_s": 0.3, "long_s": 0.7, "hysteresis": 0.05}
    files = [study / row.file for row in table.variants]
    files += [study / tried.file for row in table.variants for tried in row.artifacts if tried.file]
    assert [carried(path) for path in files] == [law] * len(files)
    assert not any(carried(path) for path in (study / "candidates").glob("*.onnx"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"short_s": [1.0], "long_s": [1.9]}, "long_s: must hold a value of at least twice the least short_s"),
        ({"hysteresis": [0.6]}, "hysteresis must be in 0..0.5"),
        ({"long_s": []}, "smoothing.long_s"),
        ({"long": [1]}, "smoothing.long"),
    ],
)
def test_values_that_mean_nothing_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        validate(Recipe, {"smoothing": values}, "own.yaml")
    assert message in str(caught.value)
