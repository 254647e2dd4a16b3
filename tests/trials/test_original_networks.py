"""The original projects' networks, written anew from their description alone, against what whc makes of their files.

Plain PyTorch, no code of whc's models: names and order of layers are those of the originals' `model_state`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from whc.runtimes import onnxruntime_cpu
from whc.training import checkpoint
from whc.trials.artifacts import export, restore

Config = dict[str, Any]
AUTO = {"baseline": "avg", "inverted_se": "avgmax_mlp", "convnext": "transformer"}
COLORS = ("rgb_to_yuv_to_y", "rgb_to_lab", "rgb_to_luv")
TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
WHITE = (0.95047, 1.0, 1.08883)


def xyz(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    light = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = torch.einsum("ij,bjhw->ibhw", rgb.new_tensor(TO_XYZ), light)
    return x, y, z


def cube_root(t: Tensor) -> Tensor:
    """CIE's f."""
    return torch.where(t > (6 / 29) ** 3, t.clamp(min=1e-9) ** (1 / 3), t / (3 * (6 / 29) ** 2) + 4 / 29)


def lab(rgb: Tensor) -> Tensor:
    fx, fy, fz = (cube_root(part / white) for part, white in zip(xyz(rgb), WHITE, strict=True))
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], 1)


def luv(rgb: Tensor) -> Tensor:
    def chromaticity(x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        total = (x + 15 * y + 3 * z).clamp(min=1e-12)
        return 4 * x / total, 9 * y / total

    x, y, z = xyz(rgb)
    lightness = 116 * cube_root(y / WHITE[1]) - 16
    u, v = chromaticity(x, y, z)
    white_u, white_v = chromaticity(*(rgb.new_tensor(part) for part in WHITE))
    return torch.stack([lightness, 13 * lightness * (u - white_u), 13 * lightness * (v - white_v)], 1)


def luma(rgb: Tensor) -> Tensor:
    return 0.299 * rgb[:, :1] + 0.587 * rgb[:, 1:2] + 0.114 * rgb[:, 2:]


CONVERSIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda rgb: rgb,
    "rgb_to_yuv_to_y": luma,
    "rgb_to_lab": lab,
    "rgb_to_luv": luv,
}


def conv(channels: int, out: int, kernel: int, stride: int, activation: nn.Module | None, groups: int = 1) -> list[Any]:
    layers = [nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(out)]
    return [*layers, activation] if activation else layers


class BaselineBlock(nn.Module):
    def __init__(self, config: Config, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Sequential(*conv(channels, channels, 3, stride, nn.ReLU(), channels))
        self.pointwise = nn.Sequential(*conv(channels, out, 1, 1, None))
        self.identity = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y = self.pointwise(self.depthwise(x))
        return functional.relu(y + x if self.identity else y)


class SqueezeExcite(nn.Module):
    def __init__(self, hidden: int, reduction: int) -> None:
        super().__init__()
        reduced = hidden // reduction
        self.fc = nn.Sequential(nn.Conv2d(hidden, reduced, 1), nn.ReLU(), nn.Conv2d(reduced, hidden, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(functional.adaptive_avg_pool2d(x, 1))


class InvertedBlock(nn.Module):
    def __init__(self, config: Config, channels: int, out: int, stride: int) -> None:
        super().__init__()
        hidden = channels * config["expansion"]
        layers = conv(channels, hidden, 1, 1, nn.SiLU()) if config["expansion"] != 1 else []
        layers += conv(hidden, hidden, 3, stride, nn.SiLU(), hidden)
        if config["se_reduction"]:
            layers.append(SqueezeExcite(hidden, config["se_reduction"]))
        self.block = nn.Sequential(*layers, *conv(hidden, out, 1, 1, None))
        self.identity = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y = self.block(x)
        return functional.silu(y + x if self.identity else y)


class ChannelNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.movedim(1, 3)).movedim(3, 1)


class WidthChange(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.op = nn.Sequential(ChannelNorm(channels), nn.Conv2d(channels, out, stride, stride))

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class ConvNextBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = ChannelNorm(channels)
        self.pwconv1, self.pwconv2 = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x)).movedim(1, 3)
        y = self.gamma * self.pwconv2(functional.gelu(self.pwconv1(y)))
        return x + y.movedim(3, 1)


def convnext_stage(config: Config, channels: int, out: int, stride: int) -> nn.Module:
    change = [WidthChange(channels, out, stride)] if stride != 1 or channels != out else []
    return nn.Sequential(*change, ConvNextBlock(out))


BLOCKS: dict[str, Callable[..., nn.Module]] = {
    "baseline": BaselineBlock,
    "inverted_se": InvertedBlock,
    "convnext": convnext_stage,
}


class Features(nn.Module):
    """Stem and blocks."""

    def __init__(self, config: Config, backbone: str, channels: int) -> None:
        super().__init__()
        width = config["base_channels"]
        stems = {
            "baseline": lambda: conv(channels, width, 3, 2, nn.ReLU()),
            "inverted_se": lambda: [*conv(channels, width, 3, 1, nn.SiLU()), *conv(width, width, 3, 2, nn.SiLU())],
            "convnext": lambda: [nn.Conv2d(channels, width, 4, 4), ChannelNorm(width)],
        }
        self.stem = nn.Sequential(*stems[backbone]())
        blocks = []
        for i in range(config["num_blocks"]):
            stride = 2 if i % 2 == 0 and i > 0 else 1
            blocks.append(BLOCKS[backbone](config, width, width * stride, stride))
            width *= stride
        self.features = nn.Sequential(*blocks)
        self.out = width

    def forward(self, x: Tensor) -> Tensor:
        return self.features(self.stem(x))


def dropout(config: Config) -> list[nn.Module]:
    return [nn.Dropout(config["dropout"])] if config["dropout"] else []


class MixerLayer(nn.Module):
    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm_tokens, self.norm_channels = nn.LayerNorm(width), nn.LayerNorm(width)
        self.token_fc1, self.token_fc2 = nn.Linear(tokens, 2 * tokens), nn.Linear(2 * tokens, tokens)
        self.channel_fc1, self.channel_fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm_tokens(x).mT
        x = x + self.token_fc2(functional.gelu(self.token_fc1(y))).mT
        y = self.norm_channels(x)
        return x + self.channel_fc2(functional.gelu(self.channel_fc1(y)))


class TokenHead(nn.Module):
    def __init__(self, config: Config, kind: str, width: int) -> None:
        super().__init__()
        self.grid, layers = tuple(config["token_mixer_grid"]), config["token_mixer_layers"]
        if kind == "transformer":
            heads = next(count for count in range(8, 0, -1) if width % count == 0)
            hidden = max(128, 2 * width)
            layer = nn.TransformerEncoderLayer(
                width, heads, hidden, config["dropout"], "gelu", batch_first=True, norm_first=True
            )
            self.mixer: nn.Module = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        else:
            self.mixer = nn.Sequential(*(MixerLayer(self.grid[0] * self.grid[1], width) for _ in range(layers)))
        self.final_norm, self.fc = nn.LayerNorm(width), nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = functional.adaptive_avg_pool2d(x, self.grid).flatten(2).mT
        return self.fc(self.final_norm(self.mixer(tokens).mean(1)))


class Still(Features):
    def __init__(self, config: Config) -> None:
        self.color = next((name for name in COLORS if config[name]), "")
        super().__init__(config, config["arch_variant"], 1 if self.color == "rgb_to_yuv_to_y" else 3)
        kind = AUTO[config["arch_variant"]] if config["head_variant"] == "auto" else config["head_variant"]
        self.kind, width = kind, self.out
        if kind == "avg":
            self.head: nn.Module = nn.Sequential(nn.BatchNorm1d(width), *dropout(config), nn.Linear(width, 1))
        elif kind == "avgmax_mlp":
            width, hidden = 2 * width, max(16, 2 * width // 2)
            layers = [nn.BatchNorm1d(width), *dropout(config), nn.Linear(width, hidden), nn.ReLU(), *dropout(config)]
            self.head = nn.Sequential(*layers, nn.Linear(hidden, 1))
        else:
            self.head = TokenHead(config, kind, width)

    def forward(self, images: Tensor) -> Tensor:
        x = super().forward(CONVERSIONS[self.color](images))
        if self.kind == "avg":
            x = x.mean((2, 3))
        elif self.kind == "avgmax_mlp":
            x = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        return self.head(x)[:, 0]


class Lstm(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.feature_extractor = Features(config, "baseline", 3)
        features = self.feature_extractor.out
        self.lstm = nn.LSTM(features, max(64, features), batch_first=True)
        self.fc = nn.Linear(max(64, features), 1)

    def forward(self, images: Tensor) -> Tensor:
        frames = [self.feature_extractor(images[:, i]).mean((2, 3)) for i in range(images.shape[1])]
        return self.fc(self.lstm(torch.stack(frames, 1))[0][:, -1])[:, 0]


class Cnn3d(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        b = config["base_channels"]

        def block(channels: int, out: int) -> nn.Module:
            conv3d = nn.Conv3d(channels, out, 3, (1, 2, 2), 1, bias=False)
            return nn.Sequential(conv3d, nn.BatchNorm3d(out), nn.ReLU())

        self.stem, self.block1, self.block2 = block(3, b), block(b, 2 * b), block(2 * b, 4 * b)
        self.fc = nn.Linear(4 * b, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.block2(self.block1(self.stem(images))).mean((2, 3, 4)))[:, 0]


NETWORKS: dict[str | None, Callable[[Config], nn.Module]] = {None: Still, "lstm": Lstm, "3dcnn": Cnn3d}


def input_shape(config: Config, size: tuple[int, int]) -> tuple[int, ...]:
    frames = config["sequence_len"]
    return {None: (3, *size), "lstm": (frames, 3, *size), "3dcnn": (3, frames, *size)}[config["use_sequence"]]


def pictures(count: int, shape: tuple[int, ...]) -> Tensor:
    """Noise of different brightness, so that outputs differ from picture to picture."""
    return torch.rand(count, *shape) * torch.rand(count, *(1 for _ in shape))


def trained(config: Config, size: tuple[int, int]) -> nn.Module:
    """A network with no weight at its first value and BatchNorm statistics of its own; outputs spread by about 1."""
    network = NETWORKS[config["use_sequence"]](config).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (0.5 if name.endswith("gamma") else 0.1))
        images = pictures(16, input_shape(config, size))
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.momentum = None
        network.train()(images)
        network.eval()
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.running_mean.mul_(0.9)  # type: ignore[union-attr]
                module.running_var.mul_(1.2)  # type: ignore[union-attr]
        last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        spread, mean = torch.std_mean(network(images))
        last.bias.sub_(mean).div_(spread + 1e-3)
        last.weight.div_(spread + 1e-3)
    return network


def written(network: nn.Module, config: Config, size: tuple[int, int], path: Path) -> Path:
    content = {
        "model_config": config,
        "model_state": network.state_dict(),
        "normalization": {"mean": [0.0] * 3, "std": [1.0] * 3, "image_size": list(size)},
        "label_map": {0: "no_smiling", 1: "smiling"},
        "epoch": 3,
    }
    torch.save(content, path)
    return path


def configured(**changes: Any) -> Config:
    defaults = {
        "base_channels": 8, "num_blocks": 4, "dropout": 0.3, "arch_variant": "baseline", "head_variant": "auto",
        "expansion": 4, "se_reduction": 8, "token_mixer_grid": (2, 3), "token_mixer_layers": 2,
        **dict.fromkeys(COLORS, False), "use_sequence": None, "sequence_len": 1,
    }  # fmt: skip
    assert not changes.keys() - defaults.keys()
    return {**defaults, **changes}


@st.composite
def files(draw: Any) -> tuple[Config, tuple[int, int], bool]:
    """A configuration that the originals take, an image size, and whether the file is of the older kind."""
    sequence = draw(st.sampled_from([None, None, None, None, "lstm", "3dcnn"]))
    config = configured(
        base_channels=draw(st.sampled_from([8, 9, 12, 16, 24])),
        num_blocks=draw(st.integers(1, 6)),
        dropout=draw(st.sampled_from([0.0, 0.3])),
        arch_variant=draw(st.sampled_from(list(AUTO))),
        head_variant=draw(st.sampled_from(["auto", "avg", "avgmax_mlp", "transformer", "mlp_mixer"])),
        expansion=draw(st.sampled_from([1, 2, 4])),
        se_reduction=draw(st.sampled_from([0, 4, 8])),
        token_mixer_layers=draw(st.integers(1, 3)),
        use_sequence=sequence,
        sequence_len=draw(st.integers(1, 6)) if sequence else 1,
    )
    color = draw(st.sampled_from(["", *COLORS]))
    if color:
        config[color] = True
    size = draw(st.sampled_from([(32, 32), (48, 30), (24, 40), (64, 32), (33, 47)]))
    # A grid that divides the feature map, which is found by asking.
    with torch.device("meta"):
        features = Features(config, config["arch_variant"], 3).eval()(torch.empty(1, 3, *size))
    divisors = [[n for n in range(1, side + 1) if side % n == 0] for side in features.shape[2:]]
    config["token_mixer_grid"] = tuple(draw(st.sampled_from(side)) for side in divisors)
    return config, size, sequence is None and draw(st.booleans())


@settings(max_examples=60)
@given(given_file=files(), seed=st.integers(0, 999))
def test_logits_are_the_originals(
    tmp_path_factory: pytest.TempPathFactory, given_file: tuple[Config, tuple[int, int], bool], seed: int
) -> None:
    config, size, older = given_file
    torch.manual_seed(seed)
    network = trained(config, size)
    if older:
        config = {key: value for key, value in config.items() if key not in {"use_sequence", "sequence_len"}}
    path = written(network, config, size, tmp_path_factory.mktemp("original") / "best.pt")
    trial, ours = restore(checkpoint.load(path), str(path))
    images = pictures(3, trial.model.input_shape)
    # Double precision: what differs then is another computation, not another order of the same.
    with torch.no_grad():
        expected = network.double()(images.double())
        torch.testing.assert_close(ours.double()(images.double())[:, 0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"head_variant": "mlp_mixer", "rgb_to_luv": True, "token_mixer_grid": (3, 5), "num_blocks": 3}, (48, 40)),
        ({"arch_variant": "inverted_se", "expansion": 1, "se_reduction": 0, "head_variant": "transformer",
          "token_mixer_grid": (4, 2), "rgb_to_yuv_to_y": True}, (32, 32)),
        ({"arch_variant": "inverted_se", "expansion": 2, "se_reduction": 4, "base_channels": 12}, (24, 40)),
        ({"arch_variant": "convnext", "head_variant": "avgmax_mlp", "rgb_to_lab": True, "dropout": 0.0}, (48, 30)),
        ({"arch_variant": "convnext", "num_blocks": 6, "token_mixer_grid": (2, 2)}, (64, 64)),
        ({"use_sequence": "lstm", "sequence_len": 3, "base_channels": 24, "num_blocks": 6}, (32, 40)),
        ({"use_sequence": "3dcnn", "sequence_len": 6, "base_channels": 12}, (30, 48)),
    ],
)  # fmt: skip
def test_exported_probabilities_are_the_originals(tmp_path: Path, changes: Config, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    config = configured(**changes)
    network = trained(config, size)
    path = written(network, config, size, tmp_path / "best.pt")
    saved = checkpoint.load(path)
    export(*restore(saved, str(path)), saved, tmp_path / "model.onnx")
    session = onnxruntime_cpu.load(tmp_path / "model.onnx", onnxruntime_cpu.Config())
    images = pictures(8, input_shape(config, size))
    with torch.no_grad():
        expected = network(images).sigmoid().numpy()
    assert expected.std() > 1e-2, "probabilities that hardly differ prove nothing"
    np.testing.assert_allclose(session.run(images.numpy()), expected, rtol=0, atol=1e-5)
