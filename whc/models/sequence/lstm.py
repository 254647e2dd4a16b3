"""A backbone on each frame, then an LSTM over the frames' features (Hochreiter and Schmidhuber 1997)."""

from __future__ import annotations

from torch import Tensor, nn

from whc.models.assemble import Extractor, NetworkParts
from whc.models.sequence import FramesConfig

INPUT_LAYOUT = "lstm"
UNUSED = ("head", "dropout")


class Config(FramesConfig):
    """`frames`: consecutive frames in one input. `differences`: it sees each frame minus the one before."""


def frames(config: Config) -> int:
    """As configured."""
    return config.frames


def input_shape(config: Config, size: tuple[int, int]) -> tuple[int, ...]:
    """(T, 3, H, W), oldest frame first."""
    return (config.frames, 3, *size)


class _FrameLstm(Extractor):
    """(N, T, 3, H, W) to logits (N, outputs): mean of each frame's feature map, one LSTM layer, its last step."""

    def __init__(self, parts: NetworkParts, differences: bool) -> None:
        to_color, backbone, _ = parts.extractor(frames=1)
        super().__init__(to_color, backbone)
        self.differences = differences
        hidden = max(64, backbone.out_channels)
        self.lstm = nn.LSTM(backbone.out_channels, hidden, batch_first=True)
        self.fc = nn.Linear(hidden, parts.outputs)

    def forward(self, images: Tensor) -> Tensor:
        pictures = self.color(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        if self.differences:
            pictures = pictures[:, 1:] - pictures[:, :-1]
        features = self.backbone(pictures.flatten(0, 1)).mean((2, 3))
        _, (last, _) = self.lstm(features.view(-1, pictures.shape[1], features.shape[1]))
        logits: Tensor = self.fc(last[0])
        return logits


def build(config: Config, parts: NetworkParts) -> nn.Module:
    """Any backbone and colour space; the LSTM takes the head's place."""
    return _FrameLstm(parts, config.differences)
