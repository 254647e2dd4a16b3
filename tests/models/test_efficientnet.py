"""EfficientNet-B0's plan, TensorFlow's padding and ImageNet's normalisation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from whc.config import validate
from whc.errors import UsageError
from whc.models.assemble import ModelConfig
from whc.models.backbones import efficientnet
from whc.models.backbones.efficientnet import Config

B0_CHANNELS = [16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320]


def test_b0() -> None:
    with torch.device("meta"):
        network = efficientnet.build(Config(), 3, 32, 16)
    assert sum(weights.numel() for weights in network.parameters()) == 4_007_548
    maps = torch.empty(1, 3, 224, 224, device="meta")
    sizes = []
    maps = network.stem(maps)
    for block in network.features:
        maps = block(maps)
        sizes.append((maps.shape[1], maps.shape[2]))
    assert [channels for channels, _ in sizes] == B0_CHANNELS
    assert [side for _, side in sizes] == [112, 56, 56, 28, 28, *[14] * 6, *[7] * 5]
    assert network.out_channels == 1280


@pytest.mark.parametrize(("width", "expected"), [(32, B0_CHANNELS[:6]), (16, [8, 16, 16, 24, 24, 40]), (1, [8] * 6)])
def test_channels_scale_with_the_width_in_multiples_of_8(width: int, expected: list[int]) -> None:
    network = efficientnet.build(Config(), 3, width, 6).eval()
    maps, channels = network.stem(torch.zeros(1, 3, 32, 32)), []
    assert maps.shape[1] == width
    for block in network.features:
        maps = block(maps)
        channels.append(maps.shape[1])
    assert channels == expected


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 7), (12, 5)])
def test_padding_of_tensorflow(kernel: int, height: int, width: int) -> None:
    pads = []
    for side in (height, width):  # the definition: as many outputs as steps begin inside, what lacks goes to the end
        total = max((-(-side // 2) - 1) * 2 + kernel - side, 0)
        pads.append((total // 2, total - total // 2))
    padded = efficientnet._SamePadding(kernel)(torch.ones(1, 1, height, width))[0, 0]
    (above, below), (left, right) = pads
    expected = torch.zeros(above + height + below, left + width + right)
    expected[above : above + height, left : left + width] = 1
    assert torch.equal(padded, expected)


def test_paddings_differ_where_the_stride_is_2_alone() -> None:
    def paddings(padding: str) -> list[str]:
        network = efficientnet.build(Config.model_validate({"padding": padding}), 3, 8, 16)
        convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
        return [f"{conv.kernel_size} {conv.stride} {conv.padding}" for conv in convolutions]

    pairs = list(zip(paddings("symmetric"), paddings("same_tensorflow"), strict=True))
    assert {(ours, theirs) for ours, theirs in pairs if ours != theirs} == {
        (f"({kernel}, {kernel}) (2, 2) ({kernel // 2}, {kernel // 2})", f"({kernel}, {kernel}) (2, 2) (0, 0)")
        for kernel in (3, 5)
    }


@pytest.mark.parametrize("frames", [1, 2])
def test_pictures_are_normalised_as_for_imagenet(frames: int) -> None:
    network = efficientnet.build(Config(normalize="imagenet"), 3 * frames, 8, 1)
    mean, std = torch.tensor(efficientnet.IMAGENET_MEAN), torch.tensor(efficientnet.IMAGENET_STD)
    images = (mean + std * torch.tensor([-1.0, 0.5, 2.0])).repeat(frames)[None, :, None, None].expand(2, -1, 4, 4)
    expected = torch.tensor([-1.0, 0.5, 2.0]).repeat(frames)[:, None, None].expand(2, -1, 4, 4)
    torch.testing.assert_close(network.stem[0](images), expected)
    assert not [name for name in network.state_dict() if "mean" in name.split(".")[-1] and "stem.0" in name]


def test_what_is_no_rgb_cannot_be_normalised() -> None:
    content = {"backbone": {"efficientnet": {"normalize": "imagenet"}}, "color": "luma", "image_size": 16}
    with pytest.raises(UsageError, match=r"^f\.yaml: normalize: imagenet needs RGB, got 1 channels; use color rgb$"):
        validate(ModelConfig, content, "f.yaml")
