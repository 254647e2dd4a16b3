"""Exact merging of linear layers into their neighbours before export: a merged layer costs nothing at run time."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from whc.models import Foldable
from whc.models.assemble import Differences, Extractor
from whc.models.color import Luma


def fold(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode with all linear layers merged.

    BatchNorm goes into the convolution before or the linear layer after it, luma and differences of stacked frames go
    into the stem, and modules that are `Foldable` merge their own layers.
    """
    folded = deepcopy(network).eval()
    for module in folded.modules():
        if isinstance(module, Extractor):
            _fold_differences(module)
            _fold_luma(module)
        if isinstance(module, Foldable):
            module.fold()
    _fold_sequences(folded)
    return folded


def _fold_sequences(module: nn.Module) -> None:
    """Fold inner sequences first, because a folded sequence is a new object with the layers of the old one."""
    for name, child in list(module.named_children()):
        _fold_sequences(child)
        if isinstance(child, nn.Sequential):
            setattr(module, name, _fold_sequence(child))


def _fold_sequence(sequence: nn.Sequential) -> nn.Sequential:
    """Merge neighbours, and remove dropout, which does nothing in evaluation."""
    layers: list[nn.Module] = []
    for layer in sequence:
        previous = layers[-1] if layers else None
        if isinstance(layer, nn.Dropout):
            continue
        if isinstance(layer, _BatchNorm) and isinstance(previous, nn.Conv2d | nn.Conv3d):
            layers[-1] = fuse_conv_bn_eval(previous, layer)
        elif isinstance(layer, nn.Linear) and isinstance(previous, nn.BatchNorm1d):
            layers[-1] = _fold_norm_into_linear(previous, layer)
        else:
            layers.append(layer)
    return nn.Sequential(*layers)


def _fold_norm_into_linear(norm: nn.BatchNorm1d, linear: nn.Linear) -> nn.Linear:
    """W (s x + t) + b = (W s) x + (W t + b), in double precision."""
    assert norm.running_var is not None and norm.running_mean is not None  # noqa: S101 (ours always track)
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.double() - norm.running_mean.double() * scale
    merged = nn.Linear(linear.in_features, linear.out_features)
    with torch.no_grad():
        merged.weight.copy_(linear.weight.double() * scale)
        merged.bias.copy_(linear.weight.double() @ shift + linear.bias.double())
    return merged


def _fold_differences(extractor: Extractor) -> None:
    """Differences of stacked frames before a zero-padded convolution are a convolution of the frames.

    The channels of a frame get the weights of the difference that it ends, less those of the difference that it begins.
    Computed apart, the differences took a third of a small network's time.
    """
    to_color, stem = extractor.color, extractor.backbone.stem[0]
    if not isinstance(to_color, nn.Sequential) or not isinstance(to_color[-1], Differences):
        return
    if isinstance(stem, nn.Conv2d):
        channels = to_color[-1].channels
        extractor.backbone.stem[0] = _with_weights(
            stem, pad(stem.weight, (0, 0, 0, 0, channels, 0)) - pad(stem.weight, (0, 0, 0, 0, 0, channels))
        )
        extractor.color = to_color[0]


def _fold_luma(extractor: Extractor) -> None:
    """A fixed mix of three channels before a zero-padded convolution is a convolution of three channels.

    This is cheaper for one frame only: over T frames the convolution has 3 T channels instead of T, and costs more than
    the mix that it replaces.
    """
    stem = extractor.backbone.stem[0]
    if not isinstance(extractor.color, Luma) or extractor.color.frames > 1 or not isinstance(stem, nn.Conv2d):
        return
    luma: Tensor = extractor.color.weight[:, :, 0, 0]
    # (out, 1, k, k) x (1, 3, 1, 1)
    extractor.backbone.stem[0] = _with_weights(stem, stem.weight * luma[..., None, None])
    extractor.color = nn.Identity()


def _with_weights(conv: nn.Conv2d, weight: Tensor) -> nn.Conv2d:
    """A copy of a convolution for as many channels as its new weights (out, channels, k, k) have."""
    copy = nn.Conv2d(
        weight.shape[1],
        conv.out_channels,
        (conv.kernel_size[0], conv.kernel_size[1]),
        (conv.stride[0], conv.stride[1]),
        (int(conv.padding[0]), int(conv.padding[1])),
        bias=conv.bias is not None,
    ).eval()
    with torch.no_grad():
        copy.weight.copy_(weight)
        if conv.bias is not None and copy.bias is not None:
            copy.bias.copy_(conv.bias)
    return copy
