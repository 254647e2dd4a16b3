"""Checkpoints of the projects that whc replaces (WHC: waving hands, HSC: happy smiles), translated into whc's names.

| theirs | ours |
|---|---|
| `arch_variant`, `expansion`, `se_reduction` | `backbone` with its parameters |
| `head_variant`, `token_mixer_grid`, `token_mixer_layers` | `head` with its parameters; `auto` goes by the backbone |
| `rgb_to_yuv_to_y`, `rgb_to_lab`, `rgb_to_luv` | `color`: luma, lab, luv |
| `use_sequence` lstm or 3dcnn, `sequence_len` | `sequence` with its `frames` |
| `base_channels`, `num_blocks`, `normalization.image_size` | `width`, `depth`, `image_size` |
| state `stem`, `features` | `backbone.stem`, `backbone.features` |
| state `head.N` | `head.layers.N`, the layers with weights, in order: their numbers skip an absent dropout |
| state `feature_extractor` (lstm) | `backbone` |
| any other state | the same name |

Their sequence models see RGB and know one backbone, `baseline`, whatever the other fields say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from whc.errors import ArtifactError, problem

CHECKPOINT_KEYS = frozenset({"model_config", "model_state", "normalization", "label_map"})
ORIGINAL_INTERPOLATION = "bilinear_antialias"
_AUTO_HEADS = {"baseline": "avg", "inverted_se": "avgmax_mlp", "convnext": "transformer"}
_COLOR_NAMES = {"rgb_to_yuv_to_y": "luma", "rgb_to_lab": "lab", "rgb_to_luv": "luv"}
_LAYER_PLACES = (0, 2, 5)  # of the layers with weights in `head.layers`: BatchNorm, linear, linear


class _FileSection(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)


class _Architecture(_FileSection):
    """`model_config`, with the originals' defaults for what older files lack."""

    arch_variant: str = "baseline"
    head_variant: str = "auto"
    base_channels: int = 32
    num_blocks: int = 4
    dropout: float = 0.3
    expansion: int = 4
    se_reduction: int = 8
    token_mixer_grid: tuple[int, int] = (2, 3)
    token_mixer_layers: int = 2
    rgb_to_yuv_to_y: bool = False
    rgb_to_lab: bool = False
    rgb_to_luv: bool = False
    use_sequence: str | None = None
    sequence_len: int = 1

    @property
    def sequence(self) -> str | None:
        """Name of the sequence model, None for still images."""
        return None if self.use_sequence in {"", "none"} else self.use_sequence


class _InputNormalization(_FileSection):
    image_size: tuple[int, int]  # height, width
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)


class _OriginalFile(_FileSection):
    architecture: _Architecture = Field(alias="model_config")
    state: dict[str, Tensor] = Field(alias="model_state")
    normalization: _InputNormalization
    label_map: dict[int, str]
    epoch: int | None = None
    val_metrics: dict[str, Any] | None = None
    train_config: dict[str, Any] | None = None


def translate(content: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The fields of our `Checkpoint` from the content of one of their files.

    Args:
        content: of the file, with at least `CHECKPOINT_KEYS`.
        source: its path, for messages.

    Raises:
        ArtifactError: fields are missing or contradictory, or the input is normalised, which the originals never do.
    """

    def require(is_met: bool, key: str, rule: str, got: object) -> None:
        if not is_met:
            raise ArtifactError(problem(f"{source}: {key}", rule, got, "export it where it was trained"))

    try:
        file = _OriginalFile.model_validate(dict(content))
    except ValidationError as error:
        first_error = error.errors()[0]
        require(False, ".".join(map(str, first_error["loc"])), first_error["msg"], first_error["input"])
        raise
    normalization, labels = file.normalization, dict(sorted(file.label_map.items()))
    is_plain = not any(normalization.mean) and set(normalization.std) == {1.0}
    require(is_plain, "normalization", "must be mean 0 and std 1", (normalization.mean, normalization.std))
    is_named = list(labels) == [0, 1] and len({*labels.values()} - {""}) == 2
    require(is_named, "label_map", "must give the classes 0 and 1 a name each", file.label_map)
    colors = [theirs for theirs in _COLOR_NAMES if getattr(file.architecture, theirs)]
    require(len(colors) <= 1, "model_config", "must name at most one colour space", colors)
    resampling = (file.train_config or {}).get("train_resampling")
    f1 = (file.val_metrics or {}).get("f1")
    return {
        "config": {
            "model": _model(file.architecture, normalization.image_size),
            "training": {"resampling": resampling} if resampling else {},
        },
        "weights": _renamed(file.state, file.architecture.sequence),
        "labels": list(labels.values()),
        "frame_rate": None,
        "data_fingerprint": "",
        "code_version": "",
        "epoch": file.epoch or 0,
        "val_score": float(f1) if isinstance(f1, int | float) else 0.0,
        "interpolation": ORIGINAL_INTERPOLATION,
    }


def _model(theirs: _Architecture, image_size: tuple[int, int]) -> dict[str, Any]:
    """`ModelConfig` as a mapping; `ModelConfig` itself checks that it can be built."""
    ours: dict[str, Any] = {
        "width": theirs.base_channels,
        "depth": theirs.num_blocks,
        "image_size": "{}x{}".format(*image_size),
        "dropout": theirs.dropout,
    }
    if theirs.sequence:
        return {**ours, "sequence": {theirs.sequence: {"frames": theirs.sequence_len}}}
    backbone = theirs.arch_variant
    head = _AUTO_HEADS.get(backbone, "avg") if theirs.head_variant == "auto" else theirs.head_variant
    tokens = {"grid": "{}x{}".format(*theirs.token_mixer_grid), "layers": theirs.token_mixer_layers}
    blocks = {"expansion": theirs.expansion, "se_reduction": theirs.se_reduction}
    parameters: dict[str, dict[str, Any]] = {"inverted_se": blocks, "transformer": tokens, "mlp_mixer": tokens}
    color = next((ours for name, ours in _COLOR_NAMES.items() if getattr(theirs, name)), "rgb")
    return {
        **ours,
        "backbone": {backbone: parameters.get(backbone, {})},
        "head": {head: parameters.get(head, {})},
        "color": color,
    }


def _renamed(state: Mapping[str, Tensor], sequence: str | None) -> dict[str, Tensor]:
    rules = {"feature_extractor.": "backbone."} if sequence else _still_rules(state)

    def ours(name: str) -> str:
        prefixes = (prefix for prefix in rules if name.startswith(prefix))
        return next((rules[prefix] + name.removeprefix(prefix) for prefix in prefixes), name)

    return {ours(name): tensor for name, tensor in state.items()}


def _still_rules(names: Iterable[str]) -> dict[str, str]:
    numbers = sorted({int(match[1]) for name in names if (match := re.match(r"head\.(\d+)\.", name))})
    head = {f"head.{n}.": f"head.layers.{place}." for n, place in zip(numbers, _LAYER_PLACES, strict=False)}
    return {"stem.": "backbone.stem.", "features.": "backbone.features.", **head}
