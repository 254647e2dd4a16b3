"""A plain ViT from a file's weights: the original's features, and files that hold another network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from whc.models import vit
from whc.training import checkpoint

MAX_ERROR = 1e-5


def weights(
    channels: int = 8, depth: int = 2, patch: int = 4, hidden: int = 12, gated: bool = False
) -> dict[str, Tensor]:
    """Random weights under the names of such a file."""
    torch.manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, channels),
        "patch_embed.proj.weight": (channels, 3, patch, patch),
        "patch_embed.proj.bias": (channels,),
        "norm.weight": (channels,),
        "norm.bias": (channels,),
    }
    layers = {"attn.qkv": (3 * channels, channels), "attn.proj": (channels, channels)}
    mlp = ["w1", "w2", "w3"] if gated else ["fc1", "fc2"]
    layers |= {f"mlp.{name}": (hidden, channels) for name in mlp[:-1]} | {f"mlp.{mlp[-1]}": (channels, hidden)}
    for block in range(depth):
        for name, (outputs, inputs) in layers.items():
            shapes |= {f"blocks.{block}.{name}.weight": (outputs, inputs), f"blocks.{block}.{name}.bias": (outputs,)}
        for name in ("norm1", "norm2"):
            shapes |= {f"blocks.{block}.{name}.{kind}": (channels,) for kind in ("weight", "bias")}
    return {name: torch.randn(shape) / 4 for name, shape in shapes.items()}


def run(network: vit.Vit, height: int = 16, width: int = 12) -> Tensor:
    with torch.no_grad():
        features: Tensor = network(torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)))
    return features


def test_features_are_the_original_s(shared: Path) -> None:
    path = shared / "peer/uhd/vit_mlp.pt"
    if not path.is_file():
        pytest.skip(f"the original's ViT is not here ({path})")
    read = checkpoint.load_vit(path)
    assert read is not None
    network, golden = vit.from_weights(read, heads=2), np.load(path.with_suffix(".npz"))
    with torch.no_grad():
        apart = np.abs(network(torch.from_numpy(golden["images"])).numpy() - golden["features"]).max()
    print(f"\n{'vit_mlp':32} features {apart:.1e}", end="")
    assert apart <= MAX_ERROR


@pytest.mark.parametrize("gated", [False, True])
def test_the_map_has_a_place_for_each_patch(gated: bool) -> None:
    network = vit.from_weights(weights(gated=gated), None)
    assert run(network).shape == (2, 8, 4, 3)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_scales_and_masks_are_contained_in_the_layers() -> None:
    """Scales of 1 and a mask of 0 change nothing, others do; a mask is an addition to the bias."""
    plain = weights()
    neutral = {f"blocks.{i}.ls{part}.gamma": torch.ones(8) for i in range(2) for part in (1, 2)}
    mask = {"blocks.0.attn.qkv_bias_mask": torch.full((24,), 0.5)}
    ours = run(vit.from_weights(plain, 2))
    assert torch.equal(run(vit.from_weights(plain | neutral, 2)), ours)
    assert not torch.equal(
        run(vit.from_weights({name: 2 * tensor for name, tensor in (plain | neutral).items()}, 2)), ours
    )
    added = plain | {"blocks.0.attn.qkv.bias": plain["blocks.0.attn.qkv.bias"] + 0.5}
    assert torch.equal(run(vit.from_weights(plain | mask, 2)), run(vit.from_weights(added, 2)))


def test_what_is_not_used_changes_nothing() -> None:
    unused = {
        "mask_token": torch.ones(1, 8),
        "storage_tokens": torch.ones(1, 4, 8),
        "rope_embed.periods": torch.ones(2),
    }
    assert torch.equal(run(vit.from_weights(weights() | unused, 2)), run(vit.from_weights(weights(), 2)))


def test_heads_are_one_for_64_channels_unless_given() -> None:
    wide = weights(channels=128)
    assert torch.equal(run(vit.from_weights(wide, None)), run(vit.from_weights(wide, 2)))
    assert not torch.equal(run(vit.from_weights(wide, 4)), run(vit.from_weights(wide, 2)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cls_token": None}, "no cls_token"),
        ({"blocks.1.mlp.fc1.weight": None}, "no blocks.1.mlp.fc1.weight"),
        ({"blocks.1.norm2.bias": None}, "Missing key"),
        ({"norm.weight": torch.ones(9)}, "size mismatch for norm.weight"),
        ({"patch_embed.proj.weight": torch.ones(8)}, "unpack"),
        ({"patch_embed.proj.weight": torch.ones(6, 3, 4, 4)}, "6 channels, which are no multiple of 4"),
        ({"blocks.x.norm1.bias": torch.ones(8)}, "invalid literal"),
    ],
)
def test_other_weights_are_refused(changes: dict[str, Tensor | None], said: str) -> None:
    given = {name: tensor for name, tensor in (weights() | changes).items() if tensor is not None}
    with pytest.raises(ValueError, match=said) as caught:
        vit.from_weights(given, None)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="heads"):
        vit.from_weights(weights(), 3)


def test_files_without_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"."):
        vit.from_weights({vit.MARK: torch.ones(8, 3, 4, 4)}, None)
