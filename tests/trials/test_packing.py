"""How trainings share a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from whc.training.checkpoint import Checkpoint, save
from whc.trials.artifacts import peak_memory_bytes, untrained
from whc.trials.config import TrialConfig
from whc.trials.learning import teacher_bytes
from whc.trials.packing import CONTEXT_BYTES, MEMORY_MARGIN, PARTS_PER_GPU, Packing

SIZES = {(32, 32): 100 << 20, (96, 96): 900 << 20}


def config(**model: object) -> TrialConfig:
    return TrialConfig.model_validate({"model": {"image_size": 32, **model}})


def test_without_a_gpu_there_is_nothing_to_share() -> None:
    assert Packing(0, {}).share(config(), alone=False) == 0
    assert Packing(0, {}).share(config(), alone=True) == 0


@pytest.mark.parametrize("gigabytes", [1, 2, 8, 24, 141])
def test_what_shares_a_gpu_fits_into_it(gigabytes: int) -> None:
    packing = Packing(gigabytes << 30, SIZES)
    wide = config(backbone="inverted_se", width=32)
    share = packing.share(wide, alone=False)
    bytes_each = CONTEXT_BYTES + MEMORY_MARGIN * (peak_memory_bytes(wide, 1) + SIZES[32, 32])
    at_once = round(1 / share, 6) // 1
    assert at_once * bytes_each <= packing.gpu_bytes or at_once == 1
    assert 1 / PARTS_PER_GPU <= share <= 1
    assert share * PARTS_PER_GPU == pytest.approx(round(share * PARTS_PER_GPU))


def test_what_takes_more_gets_more() -> None:
    packing = Packing(8 << 30, SIZES)
    small, large = config(width=8), config(backbone="inverted_se", width=64, image_size=96)
    assert packing.share(small, alone=False) < packing.share(large, alone=False)
    assert packing.share(small, alone=True) == 1


def test_what_a_teacher_takes_is_counted(tmp_path: Path) -> None:
    """Its network, what it computes for a batch, and its pictures: 800 MiB more than those of the other size."""
    teacher = config(backbone="inverted_se", width=64, image_size=96)
    weights = dict(untrained(teacher, ["no", "yes"]).state_dict())
    path = tmp_path / "teacher.pt"
    save(Checkpoint(teacher.resolved(), weights, ["no", "yes"], None, "f00d", "test", 1, 0.5), path)
    training = {"teacher": str(path), "batch_size": 128}
    taught = TrialConfig.model_validate({"model": {"image_size": 32}, "training": training})
    alone = TrialConfig.model_validate({"model": {"image_size": 32}, "training": {"batch_size": 128}})
    forward_bytes = 128 * 4 * (3 + 64) * 48 * 48  # at least the input and the output of its stem
    beyond = (teacher_bytes(taught) + SIZES[96, 96]) * MEMORY_MARGIN
    assert teacher_bytes(taught) > forward_bytes
    assert teacher_bytes(alone) == 0
    packing = Packing(20 << 30, SIZES)
    parts = [packing.share(each, alone=False) * PARTS_PER_GPU for each in (alone, taught)]
    assert (parts[1] - parts[0]) * packing.gpu_bytes / PARTS_PER_GPU == pytest.approx(beyond, abs=1 << 30)


def test_more_than_there_is_gets_a_gpu_to_itself() -> None:
    assert Packing(1 << 28, SIZES).share(config(), alone=False) == 1


@pytest.mark.parametrize(("backbone", "mebibytes"), [("baseline", 1163), ("inverted_se", 1919), ("convnext", 1175)])
def test_what_was_measured_on_a_gpu_is_set_aside(backbone: str, mebibytes: int) -> None:
    """An H200 showed so much for one process (nvidia-smi): width 32, batch 256, fp32, 31 MiB of pictures."""
    pictures = 10_519 * 32 * 32 * 3
    packing = Packing(20 << 30, {(32, 32): pictures})
    measured = TrialConfig.model_validate(
        {"model": {"backbone": backbone, "width": 32, "image_size": 32}, "training": {"batch_size": 256}}
    )
    assert packing.share(measured, alone=False) * packing.gpu_bytes >= mebibytes << 20
