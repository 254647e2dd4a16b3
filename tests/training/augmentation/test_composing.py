from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from whc.training.augmentation import Augmentation, augment, composing


def mosaics(images: Tensor) -> Tensor:
    none = dict.fromkeys(("flip", "affine", "photometric", "clahe"), 0.0)
    settings = Augmentation.model_validate({**none, "mosaic": 0.9, "mosaic_whole": 0.5})
    return augment(images.clone(), settings, torch.Generator().manual_seed(0))[0]


@pytest.mark.parametrize("size", [(32, 32), (33, 48), (17, 9)])
def test_gathered_mosaics_are_those_that_are_copied_tile_by_tile(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU gathers, and a CPU copies."""
    images = torch.from_numpy(np.random.default_rng(0).random((40, 3, *size), np.float32))
    copied = mosaics(images)
    monkeypatch.setattr(composing, "_copy_tiles", composing._gather_tiles)
    assert torch.equal(mosaics(images), copied)
    assert not torch.equal(copied, images)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_draws_the_same_mosaics() -> None:
    images = torch.from_numpy(np.random.default_rng(0).random((40, 3, 33, 48), np.float32))
    torch.testing.assert_close(mosaics(images.cuda()).cpu(), mosaics(images))
