"""What augmentation may change, and what it must not."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from whc.training.augmentation import Augmentation, augment, move, moves

STEPS = ["flip", "affine", "photometric", "clahe"]
NEVER = dict.fromkeys(STEPS, 0.0)
OFF = Augmentation.model_validate(NEVER)
ALL = Augmentation(flip=0.5, affine=0.7, photometric=0.7, hue=0.1, clahe=0.3)
STILL = {"shift": 0.0, "scale": 0.0, "rotation_degrees": 0.0}
DULL = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 4, frames: int = 1, size: tuple[int, int] = (12, 10), seed: int = 0) -> Tensor:
    return torch.rand(count, 3 * frames, *size, generator=seeded(seed))


def augmented(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """The pictures alone."""
    return augment(images, settings, generator)[0]


def only(step: str, **settings: float) -> Augmentation:
    return Augmentation.model_validate({**NEVER, step: 1.0, **settings})


def changes(*drawn: float) -> NDArray[np.float32]:
    """(4, 1): of one sample."""
    return np.array(drawn, np.float32)[:, None]


def moved(images: Tensor, angle: float = 0, growth: float = 0, right: float = 0, down: float = 0) -> Tensor:
    """All samples alike."""
    count = len(images)
    return move(images, np.zeros(count, bool), changes(angle, growth, right, down).repeat(count, 1))


# Of everything


@settings(max_examples=60)
@given(
    st.integers(1, 5),
    st.integers(1, 3),
    st.tuples(st.integers(8, 20), st.integers(8, 20)),
    st.integers(0, 1000),
    st.sampled_from([{}, {"scale": 0.9, "rotation_degrees": 180, "shift": 0.5, "brightness": 1, "saturation": 1}]),
    st.sampled_from([0, 0.5]),
)
def test_shape_and_range_are_kept(
    count: int, frames: int, size: tuple[int, int], seed: int, strong: dict[str, float], hue: float
) -> None:
    images = pictures(count, frames, size, seed).round()
    changed = augmented(images, ALL.model_copy(update={**strong, "hue": hue}), seeded(seed))
    assert changed.shape == images.shape
    assert changed.dtype == torch.float32
    assert changed.isfinite().all()
    assert -1e-6 <= changed.min() <= changed.max() <= 1 + 1e-6


@given(st.integers(0, 1000))
def test_nothing_happens_with_probability_zero(seed: int) -> None:
    images = pictures()
    assert torch.equal(augmented(images, OFF, seeded(seed)), images)


@given(st.integers(1, 3), st.integers(8, 20), st.integers(8, 20), st.integers(0, 1000))
def test_nothing_happens_where_nothing_may_change(frames: int, height: int, width: int, seed: int) -> None:
    nothing = Augmentation(flip=0, affine=1, photometric=1, clahe=0, **STILL, **DULL)
    images = pictures(3, frames, (height, width))
    torch.testing.assert_close(augmented(images, nothing, seeded(seed)), images, rtol=0, atol=3e-6)
    images = pictures(3, frames, (16, 32))
    assert torch.equal(augmented(images, nothing, seeded(seed)), images)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_given_batch_is_not_changed(step: str, memory_format: torch.memory_format) -> None:
    images = pictures().contiguous(memory_format=memory_format)
    before = images.clone()
    changed = augmented(images, only(step), seeded())
    assert torch.equal(images, before)
    assert not torch.equal(changed, images)
    torch.testing.assert_close(changed, augmented(before.contiguous(), only(step), seeded()))


@pytest.mark.parametrize("settings", [Augmentation(), ALL, *map(only, STEPS[1:])])
def test_the_seed_decides_everything(settings: Augmentation) -> None:
    images = pictures(64)
    first, repeated, other = (augmented(images, settings, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, repeated)
    assert torch.equal(first, other) == (settings == only("clahe"))  # which draws nothing but whom it takes


def test_randomness_comes_from_the_generator_alone() -> None:
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002 (to see it left alone)
    augmented(pictures(), ALL, seeded())
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


@pytest.mark.parametrize("stop", [1, 2])
def test_it_goes_on_from_the_generator_s_state(stop: int) -> None:
    """What an interrupted training needs: the state alone decides all batches that follow, to the last bit."""
    batches = [pictures(count, seed=count) for count in (5, 64, 3)]
    generator = seeded(3)
    uninterrupted = [augmented(images, ALL, generator) for images in batches]
    generator = seeded(3)
    for images in batches[:stop]:
        augmented(images, ALL, generator)
    resumed = torch.Generator()
    resumed.set_state(generator.get_state())
    for images, changed in zip(batches[stop:], uninterrupted[stop:], strict=True):
        assert torch.equal(augmented(images, ALL, resumed), changed)


@pytest.mark.parametrize("settings", [only("affine"), only("photometric"), only("photometric", **DULL | {"hue": 0.1})])
def test_no_two_samples_share_a_draw(settings: Augmentation) -> None:
    changed = augmented(pictures(1).repeat(64, 1, 1, 1), settings, seeded())
    assert len({tuple(sample.flatten().tolist()) for sample in changed}) == 64


@pytest.mark.parametrize("step", ["flip", "clahe"])
def test_samples_are_chosen_each_by_itself(step: str) -> None:
    changed = augmented(pictures(1).repeat(64, 1, 1, 1), only(step, **{step: 0.5}), seeded())
    assert len({tuple(sample.flatten().tolist()) for sample in changed}) == 2


@pytest.mark.parametrize("settings", [ALL, *map(only, STEPS)])
def test_frames_of_a_window_share_its_change(settings: Augmentation) -> None:
    changed = augmented(pictures(32).repeat(1, 4, 1, 1), settings, seeded()).unflatten(1, (4, 3))
    for later in changed.unbind(1):
        torch.testing.assert_close(later, changed[:, 0])


@pytest.mark.parametrize("settings", [only("flip"), only("affine"), only("photometric", contrast=0), only("clahe")])
def test_frames_keep_their_order(settings: Augmentation) -> None:
    """Each frame comes out as it would by itself; contrast alone looks at the whole window."""
    windows = pictures(4, frames=3)
    changed = augmented(windows, settings, seeded())
    for frame in range(3):
        of_frame = slice(3 * frame, 3 * frame + 3)
        torch.testing.assert_close(changed[:, of_frame], augmented(windows[:, of_frame], settings, seeded()))


@pytest.mark.parametrize("step", STEPS)
def test_steps_are_taken_as_often_as_asked(step: str) -> None:
    images = pictures(1, size=(16, 8)).repeat(2000, 1, 1, 1)
    changed = augmented(images, only(step, **{step: 0.3}), seeded())
    share = (changed != images).flatten(1).any(1).float().mean().item()
    assert share == pytest.approx(0.3, abs=0.04)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("settings", [ALL, *map(only, STEPS)])
def test_a_gpu_computes_the_same(settings: Augmentation) -> None:
    images = pictures(64, frames=2)
    on_gpu = augmented(images.cuda(), settings, seeded())
    assert on_gpu.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), augmented(images, settings, seeded()), atol=1e-5, rtol=0)
    own = torch.Generator("cuda").manual_seed(0)
    assert augmented(images.cuda(), settings, own).isfinite().all()


@pytest.mark.parametrize(
    "settings",
    [
        {"flip": 1.5},
        {"affine": -0.1},
        {"scale": 1},
        {"shift": 0.6},
        {"rotation_degrees": 181},
        {"hue": 0.6},
        {"bluring": 1},
    ],
)
def test_settings_that_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Augmentation"):
        Augmentation.model_validate(settings)


# Place


@pytest.mark.parametrize("frames", [1, 2])
def test_flip_mirrors_left_and_right(frames: int) -> None:
    images = pictures(3, frames)
    flipped = augmented(images, only("flip"), seeded())
    assert torch.equal(flipped, images.flip(-1))
    assert torch.equal(augmented(flipped, only("flip"), seeded()), images)


def test_a_sample_that_is_moved_is_flipped_as_well() -> None:
    images = pictures(3, 2)
    flipped = augmented(images, only("flip", affine=1, **STILL), seeded())
    torch.testing.assert_close(flipped, images.flip(-1), rtol=0, atol=3e-6)


@pytest.mark.parametrize("turns", [-2, -1, 1, 2])
def test_quarter_turns(turns: int) -> None:
    images = pictures(3, frames=2, size=(14, 14))
    turned = moved(images, angle=turns * math.pi / 2)
    torch.testing.assert_close(turned, images.rot90(turns, (2, 3)), rtol=0, atol=1e-5)


def test_half_a_turn_of_an_oblong_picture() -> None:
    images = pictures(3, size=(12, 20))
    torch.testing.assert_close(moved(images, angle=math.pi), images.flip(2, 3), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("right", "down"), [(3, 0), (0, 2), (-4, 1), (2, -12)])
def test_shift_by_whole_pixels(right: int, down: int) -> None:
    height, width = 12, 10
    images = pictures(3, size=(height, width))
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - right).clamp(0, width - 1)
    expected = images[:, :, rows][:, :, :, columns]
    shifted = moved(images, right=2 * right / width, down=2 * down / height)
    torch.testing.assert_close(shifted, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3])
def test_growth_repeats_pixels_between_their_neighbours(factor: int) -> None:
    """As a library enlarges the middle of the picture."""
    side = 6 * factor
    images = pictures(2, size=(side, side))
    first = (side - side // factor) // 2
    middle = images[:, :, first - 1 : first + 7, first - 1 : first + 7]
    larger = torch.nn.functional.interpolate(middle, scale_factor=factor, mode="bilinear")[
        :, :, factor:-factor, factor:-factor
    ]
    torch.testing.assert_close(moved(images, growth=factor - 1), larger, rtol=0, atol=1e-5)


@given(
    st.tuples(st.integers(8, 24), st.integers(8, 24)),
    st.booleans(),
    st.floats(-math.pi, math.pi),
    st.floats(-0.5, 1),
    st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
)
def test_every_pixel_comes_from_where_it_should(
    size: tuple[int, int], flipped: bool, angle: float, growth: float, way: tuple[float, float]
) -> None:
    """A picture of its own coordinates, read by a formula in pixels and complex numbers."""
    rows, columns = (np.arange(side) - (side - 1) / 2 for side in size)
    plane = columns + 1j * rows[:, None]
    half = np.array(size)[::-1] / 2
    source = plane * np.exp(1j * angle) / (1 + growth) - (way[0] * half[0] + 1j * way[1] * half[1])
    x = np.clip(-source.real if flipped else source.real, columns[0], columns[-1])
    y = np.clip(source.imag, rows[0], rows[-1])
    images = torch.from_numpy(np.stack([plane.real, plane.imag, plane.real * 0]).astype(np.float32))[None]
    pixels = move(images, np.array([flipped]), changes(angle, growth, *way))[0].numpy()
    np.testing.assert_allclose(pixels[:2], [x, y], atol=2e-4)


@pytest.mark.parametrize("size", [(32, 32), (40, 24)])
def test_rotation_is_opencv_s(size: tuple[int, int]) -> None:
    height, width = size
    picture = cv2.GaussianBlur(pictures(1, size=size)[0].permute(1, 2, 0).numpy(), (0, 0), 3)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 25, 1.1)
    expected = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    images = torch.from_numpy(picture).permute(2, 0, 1)[None]
    turned = moved(images, angle=math.radians(25), growth=0.1)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(turned, expected, atol=0.003)  # OpenCV interpolates in steps of 1/32 pixel


def test_the_affine_step_goes_as_far_as_asked_and_no_further() -> None:
    """Read off a picture of its own coordinates, in the centre: the slope is turn and size, the level the way."""
    height, width = 32, 24
    down, across = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    images = torch.stack([across, down, across * 0]).repeat(500, 1, 1, 1)

    def centre(**settings: float) -> tuple[Tensor, Tensor, Tensor]:
        """Steps of one column, of one row, and the level, in sides: (500, 2) each."""
        middle = augmented(images, only("affine", **STILL | settings), seeded())[:, :2, 15:17, 11:13]
        return (
            (middle[..., 1] - middle[..., 0])[:, :, 0],
            (middle[..., 1, :] - middle[..., 0, :])[:, :, 0],
            middle.mean((2, 3)),
        )

    level = images[0, :2, 15:17, 11:13].mean((1, 2))
    differences = (centre(shift=0.1)[2] - level).abs().amax(0)
    assert differences.tolist() == pytest.approx([0.1, 0.1], abs=0.002)
    column, row, same = centre(rotation_degrees=30)
    angle = torch.rad2deg(torch.atan2(column[:, 1] * height, column[:, 0] * width))
    assert angle.min().item() == pytest.approx(-30, abs=0.5)
    assert angle.max().item() == pytest.approx(30, abs=0.5)
    assert (same - level).abs().max() < 1e-5
    column, row, _ = centre(scale=0.2)
    sides = 1 / torch.stack([column[:, 0] * width, row[:, 1] * height])
    assert sides.amin(1).tolist() == pytest.approx([0.8, 0.8], abs=0.01)
    assert sides.amax(1).tolist() == pytest.approx([1.2, 1.2], abs=0.01)


def test_what_comes_in_from_outside_repeats_the_border() -> None:
    white = torch.ones(8, 3, 10, 10)
    changed = augmented(white, only("affine", shift=0.5, rotation_degrees=90), seeded())
    torch.testing.assert_close(changed, white)


def spots(places: NDArray[np.float32], size: tuple[int, int]) -> Tensor:
    """(N, 3, H, W): a soft spot at each of (N, 2), x to the right and y down from the centre, in pixels."""
    height, width = size
    x = torch.arange(width) - (width - 1) / 2
    y = torch.arange(height)[:, None] - (height - 1) / 2
    right, down = torch.from_numpy(places).T[:, :, None, None]
    return torch.exp(-((x - right) ** 2 + (y - down) ** 2) / 8)[:, None].repeat(1, 3, 1, 1)


def centres(images: Tensor) -> NDArray[np.float32]:
    """(N, 2): where the spots are."""
    light_of = images[:, 0] / images[:, 0].sum((1, 2), keepdim=True)
    height, width = images.shape[2:]
    x = (light_of.sum(1) * (torch.arange(width) - (width - 1) / 2)).sum(1)
    y = (light_of.sum(2) * (torch.arange(height) - (height - 1) / 2)).sum(1)
    return torch.stack([x, y], 1).numpy()


def moved_places(point_moves: NDArray[np.float32], places: NDArray[np.float32]) -> NDArray[np.float32]:
    """Places (N, 2) where moves (N, 2, 3) take them."""
    return np.asarray((point_moves[:, :, :2] @ places[:, :, None])[:, :, 0] + point_moves[:, :, 2], np.float32)


def test_moves_say_where_a_point_went() -> None:
    """Wide pictures, so that width and height cannot be mistaken for each other."""
    rng = np.random.default_rng(0)
    places, flipped = rng.uniform(-6, 6, (200, 2)).astype(np.float32), rng.random(200) < 0.5
    random_changes = rng.uniform(-1, 1, (4, 200)).astype(np.float32) * np.array(
        [[0.6], [0.2], [0.3], [0.3]], np.float32
    )
    size = (48, 64)
    point_moves = moves(flipped, random_changes, size)
    assert point_moves.shape == (200, 2, 3)
    np.testing.assert_allclose(
        centres(move(spots(places, size), flipped, random_changes)), moved_places(point_moves, places), atol=0.05
    )


@pytest.mark.parametrize("settings", [OFF, only("photometric"), only("flip"), only("affine"), only("flip", affine=0.5)])
def test_augmentation_tells_its_moves(settings: Augmentation) -> None:
    places, size = np.random.default_rng(0).uniform(-6, 6, (64, 2)).astype(np.float32), (48, 64)
    images, parts = augment(spots(places, size), settings, seeded())
    point_moves = parts.moves[0]
    if not settings.flip and not settings.affine:
        np.testing.assert_array_equal(point_moves, np.broadcast_to(np.eye(2, 3), point_moves.shape))
    if not settings.photometric:
        np.testing.assert_allclose(centres(images), moved_places(point_moves, places), atol=0.05)


def test_what_comes_in_from_outside_repeats_the_border_or_reflects_the_picture() -> None:
    images, right_by_half = torch.rand(1, 3, 8, 8), np.array([[0.0], [0.0], [1.0], [0.0]], np.float32)
    inner = images[..., :4]
    for outside, entered in (("repeat", inner[..., :1].expand(-1, -1, -1, 4)), ("reflect", inner.flip(-1))):
        moved = move(images, np.array([False]), right_by_half, outside)  # type: ignore[arg-type]
        torch.testing.assert_close(moved, torch.cat([entered, inner], -1))


NEW_STEPS = ["vertical_flip", "crop", "hsv", "gray", "channel_order", "blur", "median_blur", "motion_blur", "jpeg"]


@pytest.mark.parametrize("step", NEW_STEPS)
def test_frames_of_a_window_share_each_step(step: str) -> None:
    images = pictures(16, size=(24, 20))
    changed = augmented(torch.cat([images, images], 1), only(step), seeded())
    assert torch.equal(changed[:, :3], changed[:, 3:])
    assert not torch.equal(changed[:, :3], images)


@pytest.mark.parametrize("step", [*NEW_STEPS, "noise"])
def test_a_step_that_is_off_draws_nothing(step: str) -> None:
    images = pictures(16, size=(24, 20))
    settings = Augmentation.model_validate(ALL.model_dump() | {step: 0.5})
    assert torch.equal(augmented(images, ALL, seeded()), augmented(images, ALL.model_copy(), seeded()))
    assert not torch.equal(augmented(images, ALL, seeded()), augmented(images, settings, seeded()))
    assert torch.equal(augmented(images, settings, seeded()), augmented(images, settings, seeded()))


def test_grey_comes_in_from_outside() -> None:
    images = torch.ones(4, 3, 12, 10)
    changed = move(images, np.zeros(4, bool), changes(0, 0, 2, 0).repeat(4, 1), "gray")
    torch.testing.assert_close(changed, torch.full_like(images, 114 / 255))


class Sharp:
    """Pictures of fine stripes at 1.5 times the size, and which of them were asked for."""

    def __init__(self, count: int) -> None:
        self.images = torch.zeros(count, 3, 48, 48)
        self.images[..., ::4] = self.images[..., 1::4] = 1
        self.asked: list[int] = []

    def small(self) -> Tensor:
        return torch.nn.functional.interpolate(self.images, size=(32, 32), mode="bilinear", antialias=True)

    def larger(self, rows: NDArray[np.int64]) -> Tensor:
        self.asked += rows.tolist()
        return self.images[rows]


def test_enlarged_parts_come_from_larger_pictures_and_stay_sharp() -> None:
    settings, sharp = only("crop", crop_area=0.3, photometric=0.5), Sharp(32)
    small = sharp.small()
    plain, parts = augment(small, settings, seeded())
    sharper, same_parts = augment(small, settings, seeded(), larger=sharp.larger)
    np.testing.assert_array_equal(parts.moves, same_parts.moves)
    assert len(sharp.asked) == 32
    assert (sharper.var((1, 2, 3)) > plain.var((1, 2, 3))).all()
    torch.testing.assert_close(sharper.mean(), plain.mean(), atol=0.01, rtol=0)


def test_pictures_that_are_not_enlarged_are_those_of_the_input_size() -> None:
    settings, sharp = only("affine", rotation_degrees=0.0, scale=0.5, flip=0.5), Sharp(64)
    small = sharp.small()
    plain, parts = augment(small, settings, seeded())
    sharper, _ = augment(small.clone(), settings, seeded(), larger=sharp.larger)
    is_enlarged = np.abs(np.linalg.det(parts.moves[0, :, :, :2])) > 1.0001
    assert sharp.asked == is_enlarged.nonzero()[0].tolist()
    assert 20 < len(sharp.asked) < 44
    assert torch.equal(sharper[~is_enlarged], plain[~is_enlarged])
    assert torch.equal(augment(small.clone(), OFF, seeded(), larger=sharp.larger)[0], small)
    turned = only("affine", rotation_degrees=30.0, scale=0.0)
    still = augment(small, turned, seeded())[0]
    assert torch.equal(augment(small.clone(), turned, seeded(), larger=sharp.larger)[0], still)
