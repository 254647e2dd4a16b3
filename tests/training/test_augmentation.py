"""What augmentation may change, and what it must not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from whc.training.augmentation import Augmentation, augment

OFF = Augmentation(flip=0, affine=0, photometric=0)
ALWAYS = {"flip": 0.0, "affine": 0.0, "photometric": 0.0}
STILL = {"shift": 0.0, "scale": 0.0, "rotation_degrees": 0.0}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 4, frames: int = 1, size: tuple[int, int] = (12, 10), seed: int = 0) -> Tensor:
    return torch.rand(count, 3 * frames, *size, generator=seeded(seed))


def only(step: str, **settings: float) -> Augmentation:
    return Augmentation.model_validate({**ALWAYS, step: 1.0, **settings})


def disc(size: tuple[int, int], radius: float) -> Tensor:
    """(1, 3, H, W): a soft-edged white disc in the centre, round in pixels."""
    rows, columns = (torch.arange(side) - (side - 1) / 2 for side in size)
    distance = (rows[:, None] ** 2 + columns[None, :] ** 2).sqrt()
    return (radius - distance).div(2).add(0.5).clamp(0, 1).expand(1, 3, *size).contiguous()


def centre(picture: Tensor) -> tuple[float, float]:
    weight = picture[0]
    rows, columns = (torch.arange(side) - (side - 1) / 2 for side in weight.shape)
    return float((weight.sum(1) * rows).sum() / weight.sum()), float((weight.sum(0) * columns).sum() / weight.sum())


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 5),
    st.integers(1, 3),
    st.tuples(st.integers(8, 20), st.integers(8, 20)),
    st.integers(0, 1000),
    st.sampled_from([{}, {"scale": 0.9, "rotation_degrees": 180, "shift": 0.5, "brightness": 1, "saturation": 1}]),
)
def test_shape_and_range_are_kept(
    count: int, frames: int, size: tuple[int, int], seed: int, changes: dict[str, float]
) -> None:
    images = pictures(count, frames, size, seed).round()
    everything = Augmentation.model_validate({"flip": 0.5, "affine": 1, "photometric": 0.8, **changes})
    changed = augment(images, everything, seeded(seed))
    assert changed.shape == images.shape
    assert changed.dtype == torch.float32
    assert changed.isfinite().all()
    assert -1e-6 <= changed.min() <= changed.max() <= 1 + 1e-6


def test_nothing_happens_with_probability_zero() -> None:
    images = pictures()
    assert torch.equal(augment(images, OFF, seeded()), images)


@pytest.mark.parametrize("step", ["flip", "affine", "photometric"])
def test_the_given_batch_is_not_changed(step: str) -> None:
    images = pictures()
    before = images.clone()
    changed = augment(images, only(step), seeded())
    assert torch.equal(images, before)
    assert not torch.equal(changed, images)


@pytest.mark.parametrize("settings", [Augmentation(), only("affine"), only("photometric")])
def test_the_seed_decides_everything(settings: Augmentation) -> None:
    images = pictures(16)
    first, again, other = (augment(images, settings, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_randomness_comes_from_the_generator_alone() -> None:
    before = torch.get_rng_state()
    augment(pictures(), Augmentation(), seeded())
    assert torch.equal(torch.get_rng_state(), before)


def test_flip_mirrors_left_and_right() -> None:
    images = pictures(3, frames=2)
    assert torch.equal(augment(images, only("flip"), seeded()), images.flip(-1))


@pytest.mark.parametrize(
    "settings", [Augmentation(flip=0.5, affine=0, photometric=0), only("affine"), only("photometric")]
)
def test_samples_draw_their_own_change_and_frames_share_it(settings: Augmentation) -> None:
    frame = pictures(1)
    changed = augment(frame.repeat(32, 4, 1, 1), settings, seeded()).unflatten(1, (4, 3))
    for later in changed.unbind(1):
        torch.testing.assert_close(later, changed[:, 0])
    kinds = {tuple(sample.flatten().tolist()) for sample in changed}
    assert len(kinds) == (2 if settings.flip else 32)


def test_steps_are_taken_as_often_as_asked() -> None:
    images = pictures(1).repeat(2000, 1, 1, 1)
    for step in ("flip", "affine", "photometric"):
        changed = augment(images, only(step, **{step: 0.3}), seeded())
        share = (changed != images).flatten(1).any(1).float().mean().item()
        assert share == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize("size", [(32, 32), (40, 24), (21, 33)])
@pytest.mark.parametrize("frames", [1, 2])
def test_a_rotated_disc_stays_where_it_is(size: tuple[int, int], frames: int) -> None:
    images = disc(size, 7).repeat(8, frames, 1, 1)
    turned = augment(images, only("affine", **STILL | {"rotation_degrees": 180}), seeded())
    assert (turned - images).abs().max() < 0.15  # what bilinear sampling blurs
    for picture in turned:
        assert centre(picture) == pytest.approx((0, 0), abs=0.05)


@pytest.mark.parametrize("size", [(32, 32), (40, 24)])
def test_rotation_turns_by_at_most_the_angle(size: tuple[int, int]) -> None:
    """A dot beside the centre keeps its distance, and moves by no more than 30 degrees."""
    rows, columns = (torch.arange(side) - (side - 1) / 2 for side in size)
    dot = torch.exp(-(rows[:, None] ** 2 + (columns[None, :] - 6) ** 2) / 2).expand(64, 3, *size)
    turned = augment(dot, only("affine", **STILL | {"rotation_degrees": 30}), seeded())
    angles = []
    for picture in turned:
        y, x = centre(picture)
        assert (x**2 + y**2) ** 0.5 == pytest.approx(6, abs=0.2)
        angles.append(float(torch.rad2deg(torch.atan2(torch.tensor(y), torch.tensor(x)))))
    assert -31 < min(angles) < -20
    assert 20 < max(angles) < 31


def test_shift_moves_by_a_fraction_of_the_side() -> None:
    moved = augment(disc((40, 20), 3).repeat(64, 1, 1, 1), only("affine", **STILL | {"shift": 0.1}), seeded())
    centres = torch.tensor([centre(picture) for picture in moved]).abs()
    assert centres[:, 0].max() == pytest.approx(4, abs=0.5)
    assert centres[:, 1].max() == pytest.approx(2, abs=0.25)


def test_scale_is_of_the_size() -> None:
    image = disc((40, 40), 8)
    scaled = augment(image.repeat(64, 1, 1, 1), only("affine", **STILL | {"scale": 0.2}), seeded())
    sides = (scaled.sum((1, 2, 3)) / image.sum()).sqrt()
    assert sides.min() == pytest.approx(0.8, abs=0.03)
    assert sides.max() == pytest.approx(1.2, abs=0.03)


def test_what_comes_in_from_outside_repeats_the_border() -> None:
    white = torch.ones(8, 3, 10, 10)
    moved = augment(white, only("affine", shift=0.5, rotation_degrees=90), seeded())
    torch.testing.assert_close(moved, white)


def test_photometric_keeps_grey_grey_and_shapes_in_place() -> None:
    images = torch.rand(8, 1, 10, 10).mul(0.4).add(0.3).expand(8, 3, 10, 10)
    changed = augment(images, only("photometric", brightness=0.05), seeded())
    torch.testing.assert_close(changed[:, 0], changed[:, 1])
    torch.testing.assert_close(changed[:, 0], changed[:, 2])
    for before, after in zip(images[:, 0].flatten(1), changed[:, 0].flatten(1), strict=True):
        assert torch.equal(before.argsort(), after.argsort())


def test_contrast_is_about_the_whole_window() -> None:
    """One straight line for all pixels of all frames: a dark frame before a bright one stays as much darker."""
    frames = torch.rand(8, 2, 1, 6, 6).mul(0.2) + torch.tensor([0.2, 0.6]).view(1, 2, 1, 1, 1)
    images = frames.expand(8, 2, 3, 6, 6).flatten(1, 2)
    changed = augment(images, only("photometric", brightness=0.05, contrast=0.1), seeded())
    for before, after in zip(images.flatten(1), changed.flatten(1), strict=True):
        slope = (after[-1] - after[0]) / (before[-1] - before[0])
        torch.testing.assert_close(after, after[0] + slope * (before - before[0]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "settings", [{"flip": 1.5}, {"affine": -0.1}, {"scale": 1}, {"shift": 0.6}, {"rotation_degrees": 181}, {"blur": 1}]
)
def test_settings_that_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Augmentation"):
        Augmentation.model_validate(settings)


def test_the_memory_layout_is_kept() -> None:
    """A network fed channels-first after channels-last trains a sixth slower."""
    images = torch.rand(8, 3, 16, 12).contiguous(memory_format=torch.channels_last)
    changed = augment(images, Augmentation(flip=1, affine=1, photometric=1), torch.Generator().manual_seed(0))
    assert changed.is_contiguous(memory_format=torch.channels_last)
