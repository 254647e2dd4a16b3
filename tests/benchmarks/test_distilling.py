"""What a teacher adds to small networks of real data, at equal epochs and seeds; half an hour each on a quiet core."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from whc.data.dataset import Corpus, load
from whc.data.windows import windows
from whc.factory.evidence import interval, resamples
from whc.tasks import Judgement
from whc.training import checkpoint
from whc.training.loop import evaluate
from whc.trials.artifacts import restore, to_checkpoint
from whc.trials.config import TrialConfig
from whc.trials.learning import trainer

pytestmark = pytest.mark.bench

SEEDS = 3


@dataclass(frozen=True)
class Setting:
    """Networks of one data set that differ in `sizes` alone: the teacher's, and those of students by name."""

    data: str
    content: dict[str, Any]
    teacher: dict[str, Any]
    students: dict[str, dict[str, Any]]

    def config(self, sizes: dict[str, Any], **training: Any) -> TrialConfig:
        model, learning = self.content["model"] | sizes, self.content["training"] | training
        return TrialConfig.model_validate(self.content | {"model": model, "training": learning})


SETTINGS = {
    "smile": Setting(
        "data/smile/dataset.parquet",
        {
            "model": {"color": "luma", "width": 16, "dropout": 0.1},
            "training": {"epochs": 20, "lr": 0.01, "weight_decay": 0.03, "augmentation": {"rotation_degrees": 6}},
        },
        {"depth": 6, "image_size": 48},
        {"P": {"depth": 4, "image_size": 16}, "N": {"depth": 5, "image_size": 24}},
    ),
    "head_pose": Setting(
        "data/headpose/dataset.parquet",
        {
            "task": "head_pose",
            "model": {"backbone": "plain", "head": "linear", "color": "luma", "depth": 6, "dropout": 0},
            "training": {
                "epochs": 24,
                "lr": 0.024,
                "weight_decay": 0.05,
                "augmentation": {"scale": 0.5, "outside": "reflect", "shift": 0.07, "rotation_degrees": 10},
            },
        },
        {"width": 8, "image_size": 64},
        {"P": {"width": 4, "image_size": 32}, "N": {"width": 4, "image_size": 40}},
    ),
}


def judged(config: TrialConfig, corpus: Corpus, path: Path) -> Judgement:
    """Train, keep the best checkpoint, and judge it on the test split."""
    fitted, task = trainer(config, corpus), config.task_for(corpus.labels)
    for _ in fitted.epochs():
        pass
    assert fitted.best is not None
    checkpoint.save(to_checkpoint(config, corpus, fitted.best), path)
    _, network = restore(checkpoint.load(path), str(path))
    outputs = np.concatenate(list(evaluate(network, fitted._batches, "test", task)))
    return task.judge(outputs, windows(corpus, "test", 1).targets)


@pytest.mark.parametrize("name", SETTINGS)
def test_gain_of_a_teacher(name: str, shared: Path, tmp_path: Path) -> None:
    setting = SETTINGS[name]
    torch.set_num_threads(1)
    configs = [setting.config(sizes) for sizes in (setting.teacher, *setting.students.values())]
    corpus = load(shared / setting.data, {config.model.image_size for config in configs}, configs[0].task_kind)
    metric, teacher = configs[0].task_kind.metric, tmp_path / "teacher.pt"
    print(f"\n{name}: the teacher scores {metric.shown(float(judged(configs[0], corpus, teacher).score()))}")
    groups = np.unique(corpus.groups[windows(corpus, "test", 1).index[:, -1]], return_inverse=True)[1]
    draws = resamples(int(groups.max()) + 1)[:, groups]
    for student, sizes in setting.students.items():
        sides = [
            [judged(setting.config(sizes, seed=seed, teacher=path), corpus, tmp_path / "s.pt") for seed in range(SEEDS)]
            for path in (None, str(teacher))
        ]
        plain, taught = ([float(side.score()) for side in judgements] for judgements in sides)
        gains = np.mean([b.score(draws) - a.score(draws) for a, b in zip(*sides, strict=True)], axis=0)
        (low, high), unit = interval(gains), metric.error_scale or 1
        shown = [", ".join(map(metric.number, scores)) for scores in (plain, taught)]
        gain, ends = unit * float(np.mean(taught) - np.mean(plain)), f"{unit * low:+.4f} to {unit * high:+.4f}"
        print(f"  {student}: {shown[0]} plain, {shown[1]} taught: gain {gain:+.4f} ({ends})")
        assert high > 0
