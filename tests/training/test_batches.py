"""Batches are what the demo feeds, in the memory layout that trains fastest, changed or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from whc.data.dataset import Corpus
from whc.data.preprocess import LAYOUTS, to_input
from whc.data.row_labels import RowLabels
from whc.models.assemble import ModelConfig, build
from whc.tasks.parts import Parts
from whc.training import batches as module
from whc.training.batches import Batches, Change, Larger

SIZE = (8, 12)
CPU = torch.device("cpu")
FRAMES = {"still": 1, "frame_stack": 3, "lstm": 3, "cnn3d": 3}


def corpus(clips: int = 6, frames: int = 4) -> Corpus:
    """Noise in clips; every byte value occurs."""
    rows = clips * frames
    images = np.random.default_rng(0).permutation(np.arange(rows * 8 * 12 * 3) % 256).reshape(rows, *SIZE, 3)
    ids = np.arange(rows, dtype=np.int64)
    clip_ids = ids // frames
    return Corpus(
        images={SIZE: images.astype(np.uint8)},
        labelled=RowLabels(clip_ids % 2, ("no", "yes"), clip_ids % 2, ("no", "yes")),
        needs_every_stratum=True,
        splits=np.minimum(clip_ids // 2, 2),
        clips=clip_ids,
        groups=clip_ids,
        timestamps=ids % frames,
        row_numbers=ids,
        frame_rate=None,
        fingerprint="noise",
    )


CORPUS = corpus()


def batches(layout: str, device: torch.device = CPU, data: Corpus = CORPUS) -> Batches:
    return Batches(data, SIZE, FRAMES[layout], layout, device)


def some(layout: str) -> NDArray[np.int64]:
    """Windows of the validation split, one of them twice, out of order."""
    index = batches(layout).windows("val").index
    return index[[2, 0, 1, 2]]


def still(frames: Tensor) -> tuple[Tensor, Parts]:
    """Moves that number the windows, so that they can be told apart."""
    moves = np.arange(len(frames), dtype=np.float32)[:, None, None] * np.ones((2, 3), np.float32)
    return frames, Parts.whole(moves, SIZE)


def changed(change: Callable[[Tensor], Tensor]) -> Change:
    return lambda frames, *_: still(change(frames))


def batch_of(source: Batches, index: NDArray[np.int64], change: Callable[[Tensor], Tensor] | None) -> Tensor:
    return source.batch(index) if change is None else source.changed_batch(index, changed(change))[0]


def same(frames: Tensor) -> Tensor:
    return frames


def test_every_layout_is_tested() -> None:
    assert FRAMES.keys() == LAYOUTS.keys()


@pytest.mark.parametrize("layout", FRAMES)
@pytest.mark.parametrize("change", [None, same])
def test_batches_are_the_demo_s_input_to_the_last_bit(layout: str, change: Callable[[Tensor], Tensor] | None) -> None:
    index = some(layout)
    batch = batch_of(batches(layout), index, change)
    assert batch.dtype == torch.float32
    np.testing.assert_array_equal(batch.numpy(), to_input(CORPUS.images[SIZE][index], layout))


@given(st.sampled_from(sorted(FRAMES)), st.lists(st.integers(0, 23), min_size=1, max_size=9))
def test_any_rows_in_any_order(layout: str, rows: list[int]) -> None:
    index = np.array(rows, np.int64)[:, None] + np.zeros(FRAMES[layout], np.int64)
    batch = batches(layout).batch(index)
    np.testing.assert_array_equal(batch.numpy(), to_input(CORPUS.images[SIZE][index], layout))


@pytest.mark.parametrize("layout", FRAMES)
@pytest.mark.parametrize("change", [None, same, lambda frames: frames.flip(-1), lambda frames: frames + 0])
def test_channels_come_last_in_memory(layout: str, change: Callable[[Tensor], Tensor] | None) -> None:
    batch = batch_of(batches(layout), some(layout), change)
    channels = 2 if layout == "lstm" else 1
    assert batch.movedim(channels, -1).is_contiguous()


@pytest.mark.parametrize("sequence", ["none", "frame_stack", "lstm", "cnn3d"])
def test_networks_take_them_as_they_lie(sequence: str) -> None:
    """The layout in memory changes speed, not results."""
    config = ModelConfig.model_validate({"sequence": sequence, "width": 4, "depth": 2, "image_size": "8x12"})
    source = Batches(CORPUS, SIZE, min(config.frames, 4), config.layout, CPU)
    network = build(config, 1).eval()
    batch = batch_of(source, source.windows("val").index, same)
    torch.testing.assert_close(network(batch), network(batch.contiguous()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", FRAMES)
def test_changes_see_stacked_frames(layout: str) -> None:
    index = some(layout)
    batches_seen: list[Tensor] = []

    def darker(frames: Tensor) -> Tensor:
        batches_seen.append(frames)
        return frames / 2

    batch = batch_of(batches(layout), index, darker)
    expected = to_input(CORPUS.images[SIZE][index], "frame_stack")
    np.testing.assert_array_equal(batches_seen[0].numpy(), expected)
    assert batches_seen[0].is_contiguous()
    np.testing.assert_array_equal(batch.numpy(), to_input(CORPUS.images[SIZE][index], layout) / 2)


@pytest.mark.parametrize("layout", FRAMES)
def test_a_change_may_ask_for_larger_images(layout: str) -> None:
    larger_images = np.random.default_rng(1).integers(0, 256, (len(CORPUS.splits), 12, 18, 3), np.uint8)
    source = replace(batches(layout), corpus=replace(CORPUS, larger={SIZE: larger_images}))
    index, rows = some(layout), np.array([2, 0])
    asked: list[Tensor] = []

    def enlarge(frames: Tensor, place: slice, larger: Larger | None) -> tuple[Tensor, Parts]:
        assert larger is not None
        asked.append(larger(rows))
        return still(frames)

    source.changed_batch(index, enlarge)
    expected = to_input(larger_images[index[rows]], "frame_stack")
    np.testing.assert_array_equal(asked[0].numpy(), expected)


@pytest.mark.parametrize("layout", FRAMES)
def test_changes_in_place_do_not_reach_the_corpus(layout: str) -> None:
    before = CORPUS.images[SIZE].copy()
    source = batches(layout)
    assert batch_of(source, some(layout), lambda frames: frames.zero_()).max() == 0
    source.batch(some(layout)).zero_()
    np.testing.assert_array_equal(CORPUS.images[SIZE], before)


def test_read_only_images_are_used_where_they_lie() -> None:
    """What Ray's object store holds; torch would warn, and warnings are errors here."""
    images = CORPUS.images[SIZE].copy()
    images.flags.writeable = False
    source = batches("still", data=replace(CORPUS, images={SIZE: images}))
    index = some("still")
    first = source.batch(index)
    images.flags.writeable = True
    images[index[0, 0]] = 255 - images[index[0, 0]]
    torch.testing.assert_close(source.batch(index)[0], 1 - first[0])


def test_what_was_scored_first_can_be_learnt_from() -> None:
    """Tensors kept from inference mode must not spoil training."""
    config = ModelConfig.model_validate({"width": 4, "depth": 1, "image_size": "8x12"})
    network, source = build(config, 1), batches("still")
    with torch.inference_mode():
        scored = network.eval()(source.batch(some("still")))
    network.train()(batch_of(source, some("still"), same)).sum().backward()
    assert scored.is_inference()
    assert all(weight.grad is not None for weight in network.parameters())


@pytest.mark.parametrize("layout", FRAMES)
@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_a_stream_is_one_batch_after_another(layout: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    index = some(layout)
    monkeypatch.setitem(module.PIXELS_AT_ONCE, "cpu", at_once * index[:2].size * 8 * 12)
    indices = [index[:2], index[2:3], index[3:], index[:2], index[1:2]]
    batch_lengths: list[int] = []
    places: list[int] = []

    def count(frames: Tensor, place: slice, larger: Larger | None) -> tuple[Tensor, Parts]:
        batch_lengths.append(len(frames))
        places.extend(range(7)[place])
        return still(frames)

    source = batches(layout)
    streamed = list(source.stream(indices, count))
    for (batch, parts), rows in zip(streamed, indices, strict=True):
        assert torch.equal(batch, source.batch(rows))
        assert parts.moves.shape == (1, len(rows), 2, 3)
        assert batch.movedim(2 if layout == "lstm" else 1, -1).is_contiguous()
    together = np.concatenate([parts.moves[0, :, 0, 0] for _, parts in streamed]).tolist()
    numbers = np.concatenate([parts.rows[0] for _, parts in streamed]).tolist()
    assert numbers == places == list(range(7))
    assert together == [window for windows in batch_lengths for window in range(windows)]
    assert batch_lengths == {1: [2, 1, 1, 2, 1], 2: [3, 3, 1], 100: [7]}[at_once]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("layout", FRAMES)
@pytest.mark.parametrize("change", [None, same])
def test_a_gpu_gets_the_same_bits(layout: str, change: Callable[[Tensor], Tensor] | None) -> None:
    index = some(layout)
    batch = batch_of(batches(layout, torch.device("cuda")), index, change)
    assert batch.is_cuda
    np.testing.assert_array_equal(batch.cpu().numpy(), to_input(CORPUS.images[SIZE][index], layout))
