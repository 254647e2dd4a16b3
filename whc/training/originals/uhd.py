"""Checkpoints of UHD, a detector of persons (Hyodo 2025), translated into whc's names.

| theirs | ours |
|---|---|
| `arch` cnn | backbone `uhd`, head `centre`, or `anchor` where `use_anchor` |
| `arch` transformer | backbone `patches`, head `query`, with four `levels` where `use_fpn` |
| `classes` | a label for each: `class 0` |
| `ema` | the weights, where there are any; else `model` |
| state `stem`, `stageN` | `backbone.stem`, `backbone.features`, counted from 0 |
| state `skip_sN`, `se` | `backbone.skips`, `backbone.gate` |
| state `head_hm`, `head_off`, `head_wh` | `head.layers.1`, joined; `head` of anchors is it alone |
| state `patch`, or `stem` with FPN; `fpn_high`, `fpn1`, `fpn2` | `backbone.stem.0`, `head.pyramid` |
| state `class_head`, `box_head` | `head.output`, joined |

Files with neither `img_size` nor `resize_mode` are of its first version: a size is an exponential, `se` has SiLU, and
no duplicates are removed. What they don't hold is as UHD's defaults have it: pictures of 64x64, 4 attention heads.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from torch import Tensor

from whc.config import laid_over
from whc.errors import ArtifactError, problem
from whc.models.assemble import ModelConfig, shapes

CHECKPOINT_KEYS = frozenset({"model", "arch", "classes"})
ORIGINAL_INTERPOLATION = "bilinear_antialias"
THRESHOLD, MAX_BOXES = 0.3, 50
_HEADS = 4  # of attention
_DEPTH = 3  # blocks of the CNN, and of the pyramid
_NMS_IOU = 0.5
_INTERPOLATIONS = {
    "torch_bilinear": "bilinear",
    "opencv_inter_linear": "bilinear",
    "torch_nearest": "nearest",
    "opencv_inter_nearest": "nearest",
}
_ACTIVATIONS = {"swish": "silu", "relu": "relu"}
_RENAMED = (  # patterns of their names, and what ours begin with
    (r"stem\.(\d)\.", r"backbone.stem.\1."),
    (r"(?:stem|patch)\.(?=weight|bias)", "backbone.stem.0."),
    (r"skip_s1\.", "backbone.skips.0."),
    (r"skip_s2\.", "backbone.skips.1."),
    (r"se\.(?:fc1|fc)\.", "backbone.gate.layers.0."),
    (r"se\.fc2\.", "backbone.gate.layers.2."),
    (r"head\.", "head.layers.1."),
    (r"anchors$", "head.anchors"),
    (r"(en|de)coder\.layers\.", r"head.\1coder."),
    (r"query_embed\.weight", "head.queries"),
)
_BLOCKS = {"stage1": "backbone.features.0", "stage2": "backbone.features.1", "stage3": "backbone.features.2"} | {
    "fpn_high": "head.pyramid.0",
    "fpn1": "head.pyramid.1",
    "fpn2": "head.pyramid.2",
}
_BLOCK_PARTS = {"dw": "0", "pw": "1", "bn": "2"}
_JOINED = {"head.layers.1": ("head_hm", "head_off", "head_wh"), "head.output": ("class_head", "box_head")}


log = logging.getLogger(__name__)


def _sides(size: object) -> object:
    """Height and width, where a file has one number, or text such as 64x48."""
    sides = size.split("x") if isinstance(size, str) else [size] if isinstance(size, int) else size
    return 2 * sides if isinstance(sides, list) and len(sides) == 1 else sides


class _OriginalFile(BaseModel):
    """What is read of a file, with what the first version meant where it lacks something."""

    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)

    model: dict[str, Tensor]
    ema: dict[str, Tensor] | None = None
    arch: Literal["cnn", "transformer"]
    classes: list[int] = Field(min_length=1)
    epoch: int = 0
    best_map: float = 0.0
    img_size: Annotated[tuple[int, int], BeforeValidator(_sides)] = (64, 64)
    resize_mode: str | None = None
    activation: Literal["swish", "relu"] = "swish"
    use_skip: bool = False
    use_fpn: bool = False
    use_anchor: bool = False
    iou_loss: Literal["iou", "giou", "ciou"] = "giou"
    last_se: Literal["none", "se", "ese"] = "none"
    output_stride: Literal[4, 8, 16] = 16

    @property
    def is_newer(self) -> bool:
        """Whether a later version than the first wrote it."""
        return not self.model_fields_set.isdisjoint(("img_size", "resize_mode"))

    @property
    def weights(self) -> dict[str, Tensor]:
        """The averaged weights, which the file's mAP belongs to, if it has them."""
        return self.ema or self.model


def translate(content: Mapping[str, Any], source: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The fields of our `Checkpoint` from the content of one of their files.

    Args:
        content: of the file, with at least `CHECKPOINT_KEYS`.
        source: its path, for messages.
        changes: what the file does not hold or is to be otherwise, in the form of our configuration; not checked.

    Raises:
        ArtifactError: fields are missing or wrong, or the network is one of theirs that whc lacks.
    """

    def refusal(key: str, rule: str, got: object) -> ArtifactError:
        return ArtifactError(problem(f"{source}: {key}", rule, got, "give a checkpoint of UHD's cnn or transformer"))

    try:
        file = _OriginalFile.model_validate({name: value for name, value in content.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        raise refusal(".".join(map(str, first["loc"])), first["msg"], first["input"]) from error
    if file.resize_mode is not None and file.resize_mode not in _INTERPOLATIONS:
        raise refusal("resize_mode", f"must be one of {', '.join(_INTERPOLATIONS)}", file.resize_mode)
    try:
        model = _cnn(file) if file.arch == "cnn" else _transformer(file)
        weights = _renamed(file.weights)
        expected = shapes(ModelConfig.model_validate(model), len(file.classes))
    except (KeyError, IndexError, ValueError) as error:
        raise refusal("model", "must be the weights of such a network", str(error).splitlines()[0]) from error
    got = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if got != expected:
        wrong = min(dict(got.items() ^ expected.items()))
        raise refusal("model", f"must have {wrong} of shape {expected.get(wrong)}", got.get(wrong))
    model = laid_over(model, _section(changes, "model"))
    _tell_defaults(file, _section(changes, "model"), source)
    task = {"detection": {"max_boxes": _max_boxes(file, model["image_size"]), "threshold": THRESHOLD}}
    return {
        "config": laid_over({"task": task, "model": model}, changes or {}),
        "weights": weights,
        "labels": [f"class {number}" for number in file.classes],
        "frame_rate": None,
        "data_fingerprint": "",
        "code_version": "",
        "epoch": file.epoch,
        "val_score": file.best_map,
        "interpolation": _INTERPOLATIONS[file.resize_mode] if file.resize_mode else ORIGINAL_INTERPOLATION,
    }


def _section(changes: object, *names: str) -> Mapping[str, Any]:
    """A part of the changes; empty where they have none, or no mapping."""
    for name in names:
        changes = changes.get(name) if isinstance(changes, Mapping) else None
    return changes if isinstance(changes, Mapping) else {}


def _tell_defaults(file: _OriginalFile, given: Mapping[str, Any], source: str) -> None:
    """Say what neither the file nor the user gives, as another value would give other boxes."""
    taken = []
    if "img_size" not in file.model_fields_set and "image_size" not in given:
        taken.append("pictures of {}x{} pixels (--set model.image_size=HEIGHTxWIDTH)".format(*file.img_size))
    if file.arch == "transformer" and "heads" not in _section(given, "head", "query"):
        taken.append(f"{_HEADS} attention heads (--set model.head.query.heads=N)")
    if taken:
        log.warning("%s: does not hold all of its network; taken as UHD's default: %s", source, ", ".join(taken))


def _cnn(file: _OriginalFile) -> dict[str, Any]:
    """`ModelConfig` as a mapping."""
    width, last_width = (len(file.weights[name]) for name in ("stem.0.weight", "stage3.pw.weight"))
    activation = _ACTIVATIONS[file.activation]
    trunk = {
        "output_stride": file.output_stride,
        "skip": file.use_skip,
        "activation": activation,
        "last_se": file.last_se,
        "se_activation": activation if file.is_newer else "silu",
        "last_width_scale": last_width / width,
    }
    anchor = {
        "num_anchors": len(file.weights["anchors"]) if file.use_anchor else 0,
        "anchors": file.weights["anchors"].tolist() if file.use_anchor else [],
        "iou": file.iou_loss,
        "size": "softplus" if file.is_newer else "exp",
        "nms_iou": _NMS_IOU if file.is_newer else None,
    }
    return _model(file, width) | {
        "backbone": {"uhd": trunk},
        "head": {"anchor": anchor} if file.use_anchor else "centre",
        "depth": _DEPTH,
        "dropout": 0.0,
    }


def _transformer(file: _OriginalFile) -> dict[str, Any]:
    """`ModelConfig` as a mapping; the number of attention heads is in no file."""
    queries, channels = file.weights["query_embed.weight"].shape
    query = {
        "queries": queries,
        "heads": _HEADS,
        "layers": len({name.split(".")[2] for name in file.weights if name.startswith("encoder.layers.")}),
        "ff": len(file.weights["encoder.layers.0.linear1.weight"]),
        "levels": 1 + _DEPTH if file.use_fpn else 1,
        "activation": _ACTIVATIONS[file.activation],
    }
    return _model(file, channels) | {"backbone": "patches", "head": {"query": query}, "depth": 1, "dropout": 0.1}


def _model(file: _OriginalFile, width: int) -> dict[str, Any]:
    return {"color": "rgb", "sequence": "none", "width": width, "image_size": "{}x{}".format(*file.img_size)}


def _max_boxes(file: _OriginalFile, image_size: object) -> int:
    """How many boxes they give a picture at most: all of the anchors', one for each query, the best 50 of centres."""
    if file.arch == "transformer":
        return len(file.weights["query_embed.weight"])
    if not file.use_anchor:
        return MAX_BOXES
    try:
        sides = ModelConfig.model_validate({"image_size": image_size}).image_size
    except ValidationError:
        sides = file.img_size  # that no network has this size is told when it is built
    rows, columns = (-(-side // file.output_stride) for side in sides)
    return rows * columns * len(file.weights["anchors"])


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    parts = {part for parts in _JOINED.values() for part in parts}
    weights = {_our_name(name): tensor for name, tensor in state.items() if name.split(".")[0] not in parts}
    for ours, theirs in _JOINED.items():
        for kind in ("weight", "bias"):
            if f"{theirs[0]}.{kind}" in state:
                weights[f"{ours}.{kind}"] = torch.cat([state[f"{part}.{kind}"] for part in theirs])
    return weights


def _our_name(name: str) -> str:
    block, _, rest = name.partition(".")
    if block in _BLOCKS:
        part, _, parameter = rest.partition(".")
        return f"{_BLOCKS[block]}.{_BLOCK_PARTS[part]}.{parameter}"
    for pattern, ours in _RENAMED:
        if re.match(pattern, name):
            return re.sub(f"^{pattern}", ours, name)
    return name
