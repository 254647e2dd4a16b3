"""A network from its configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import torch
from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from torch import Tensor, nn

from whc import plugins
from whc.config import Settings
from whc.errors import shown
from whc.models.backbones import Backbone
from whc.models.color import Color, conversion
from whc.plugins import Choice, ChoiceOf

Size = tuple[int, int]

BACKBONE_CHOICE = ChoiceOf("models.backbones")
HEAD_CHOICE = ChoiceOf("models.heads")
SEQUENCE_CHOICE = ChoiceOf("models.sequence")


def _parse_size(value: object) -> Size:
    """`32` is 32x32, `48x30` is 48 high and 30 wide."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", str(value))
    if not match:
        raise ValueError(f"must be a side in pixels or HEIGHTxWIDTH, got {shown(value)}; write 32 or 48x30")
    size = int(match[1]), int(match[2] or match[1])
    if not all(8 <= side <= 512 for side in size):
        raise ValueError(f"must be within 8 and 512 pixels, got {shown(value)}; choose another size")
    return size


def _dump_size(size: Size) -> int | str:
    return size[0] if size[0] == size[1] else f"{size[0]}x{size[1]}"


ImageSize = Annotated[Size, BeforeValidator(_parse_size), PlainSerializer(_dump_size, return_type=int | str)]


class ModelConfig(Settings):
    """Everything that decides a network's shape, and so its latency.

    `width` is the channels of the first block, `depth` the number of blocks; `image_size` is (height, width) in pixels.
    Fields that the sequence model does not use are not dumped, so that one network has one resolved configuration.
    """

    backbone: Annotated[Choice, BACKBONE_CHOICE] = BACKBONE_CHOICE.default("baseline")
    head: Annotated[Choice, HEAD_CHOICE] = HEAD_CHOICE.default("avg")
    color: Color = "rgb"
    sequence: Annotated[Choice, SEQUENCE_CHOICE] = SEQUENCE_CHOICE.default("none")
    width: int = Field(32, ge=1, le=512)
    depth: int = Field(4, ge=1, le=16)
    image_size: ImageSize = (32, 32)
    dropout: float = Field(0.3, ge=0, lt=1)

    @model_validator(mode="after")
    def _fits(self) -> ModelConfig:
        """Refuse a network that cannot be built."""
        _check_built(self)
        return self

    @model_serializer(mode="wrap")
    def _used(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if name not in self.unused}

    @property
    def unused(self) -> tuple[str, ...]:
        """Fields that the sequence model does not use."""
        return tuple(plugins.load(SEQUENCE_CHOICE.kind, self.sequence.name).UNUSED)

    @property
    def frames(self) -> int:
        """Frames of one input."""
        return int(plugins.load(SEQUENCE_CHOICE.kind, self.sequence.name).frames(self.sequence.config))

    @property
    def layout(self) -> str:
        """How frames are laid out in the input: a key of `whc.data.preprocess.LAYOUTS`."""
        return str(plugins.load(SEQUENCE_CHOICE.kind, self.sequence.name).INPUT_LAYOUT)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch."""
        module = plugins.load(SEQUENCE_CHOICE.kind, self.sequence.name)
        return tuple(module.input_shape(self.sequence.config, self.image_size))


class Differences(nn.Module):
    """Each frame minus the one before, of T frames with C `channels` each: (N, T*C, H, W) to (N, (T-1)*C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        return images[:, self.channels :] - images[:, : -self.channels]


class Extractor(nn.Module):
    """Colour conversion and backbone: (N, T*3, H, W) to a feature map (N, channels, h, w)."""

    def __init__(self, to_color: nn.Module, backbone: Backbone) -> None:
        super().__init__()
        self.color = to_color
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.backbone(self.color(images))
        return features


class StillNetwork(Extractor):
    """Colour conversion, backbone, head: (N, T*3, H, W) to logits (N, outputs)."""

    def __init__(self, to_color: nn.Module, backbone: Backbone, head: nn.Module) -> None:
        super().__init__(to_color, backbone)
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(super().forward(images))
        return logits


@lru_cache(maxsize=1024)
def _check_built(config: ModelConfig) -> None:
    """Build the network without memory for weights; cached, because a search returns to the same networks."""
    with torch.device("meta"):
        _assemble(config, outputs=1)


@dataclass(frozen=True)
class NetworkParts:
    """What a sequence model builds its network from."""

    config: ModelConfig
    outputs: int

    def extractor(self, frames: int, differences: bool = False) -> tuple[nn.Module, Backbone, Size]:
        """Colour conversion and backbone over `frames` frames stacked as channels, and their feature map's size.

        With `differences` the backbone sees each frame minus the one before, after the conversion.

        Raises:
            ValueError: the image is too small for the backbone.
        """
        to_color, channels = conversion(self.config.color, frames)
        if differences:
            channels_of_frame = channels // frames
            to_color, channels = nn.Sequential(to_color, Differences(channels_of_frame)), channels - channels_of_frame
        return to_color, _backbone(self.config, channels, self.config.width), _feature_size(self.config, channels)

    def still_network(self, frames: int, differences: bool = False) -> StillNetwork:
        """The still-image network over `frames` frames stacked as channels, or over their differences.

        Raises:
            ValueError: the image is too small for the backbone, or the head does not fit the feature map.
        """
        head = self.config.head
        to_color, backbone, size = self.extractor(frames, differences)
        plugin = plugins.load(HEAD_CHOICE.kind, head.name)
        head_module = plugin.build(head.config, backbone.out_channels, size, self.config.dropout, self.outputs)
        return StillNetwork(to_color, backbone, head_module)


def _backbone(config: ModelConfig, channels: int, width: int) -> Backbone:
    module = plugins.load(BACKBONE_CHOICE.kind, config.backbone.name)
    backbone: Backbone = module.build(config.backbone.config, channels, width, config.depth)
    return backbone


def _feature_size(config: ModelConfig, channels: int) -> Size:
    """Height and width of the feature map, found by running a backbone of width 1 on an empty image.

    Width does not change the result, and a wide backbone could take gigabytes. The meta device would be slower: its
    operations are written in Python, and the first of them imports PyTorch's compiler, which takes seconds.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        narrow = _backbone(config, channels, width=1).eval()
        images = torch.zeros(1, channels, *config.image_size)
    try:
        with torch.no_grad():
            features = narrow(images)
    except RuntimeError as error:
        raise ValueError(
            f"image_size {_dump_size(config.image_size)} is too small for {config.backbone.name} with depth "
            f"{config.depth}; use a larger image or fewer blocks"
        ) from error
    return int(features.shape[2]), int(features.shape[3])


def _assemble(config: ModelConfig, outputs: int) -> nn.Module:
    sequence = plugins.load(SEQUENCE_CHOICE.kind, config.sequence.name)
    network: nn.Module = sequence.build(config.sequence.config, NetworkParts(config, outputs))
    return network


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def shapes(config: ModelConfig, outputs: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a network's weights by name; the network is not allocated, as it may be larger than memory."""
    with torch.device("meta"):
        return {name: tuple(weights.shape) for name, weights in _assemble(config, outputs).state_dict().items()}


def build(config: ModelConfig, outputs: int) -> nn.Module:
    """An untrained network; draws its weights from torch's global generator.

    Args:
        config: what to build.
        outputs: number of logits.

    Raises:
        ValueError: the parts do not fit each other; the message says what would fit.
    """
    return _assemble(config, outputs).apply(_initialise)
