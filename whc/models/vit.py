"""A plain Vision Transformer (Dosovitskiy et al. 2021) that gives a map of features, built from the weights in a file.

Names of weights are those of DINOv3's files. It computes what UHD makes of such a file: sines and cosines in place of
rotary positions, tokens of the picture and of its class alone, pictures as they are (0..1), and a bias mask that is
added to the bias.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, silu

from whc.models.attention import Attention, position_code

MARK = "patch_embed.proj.weight"
"""The weight by which such a file is known."""
HEAD_CHANNELS = 64


class _Mlp(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(gelu(self.fc1(x)))
        return out


class _GatedMlp(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.w1, self.w2, self.w3 = (nn.Linear(*sides) for sides in 2 * [(channels, hidden)] + [(hidden, channels)])

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.w3(silu(self.w1(x)) * self.w2(x))
        return out


class _Block(nn.Module):
    """Tokens (N, T, channels) to the same shape; normalised before each part."""

    def __init__(self, channels: int, heads: int, mlp: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attn, self.mlp = Attention(channels, heads, dropout=0.0), mlp

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm1(x)
        x = x + self.attn(tokens, tokens)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Vit(nn.Module):
    """Pictures (N, 3, H, W) to a map (N, channels, H / patch, W / patch)."""

    def __init__(self, patch: nn.Conv2d, blocks: nn.Sequential, channels: int) -> None:
        super().__init__()
        self.patch, self.blocks, self.norm = patch, blocks, nn.LayerNorm(channels)
        self.cls_token = nn.Parameter(torch.empty(1, 1, channels))
        self.out_channels = channels

    def forward(self, images: Tensor) -> Tensor:
        features = self.patch(images)
        tokens = (features + position_code(features)).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], 1)
        tokens = self.norm(self.blocks(tokens))[:, 1:]
        out: Tensor = tokens.transpose(1, 2).reshape(features.shape)
        return out


def from_weights(weights: Mapping[str, Tensor], heads: int | None) -> Vit:
    """The network of a file, not to be trained.

    Args:
        weights: by name.
        heads: of attention, which no file tells; None takes one for `HEAD_CHANNELS` channels.

    Raises:
        ValueError: they are not those of a plain ViT.
    """
    try:
        depth = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
        channels, _, *patch = weights[MARK].shape
        heads = heads or max(1, channels // HEAD_CHANNELS)
        if channels % heads or channels % 4:
            raise ValueError(f"{channels} channels, which are no multiple of 4 and of {heads} attention heads")
        blocks = nn.Sequential(*(_Block(channels, heads, _mlp(weights, i, channels)) for i in range(depth)))
        network = Vit(nn.Conv2d(3, channels, (patch[0], patch[1]), (patch[0], patch[1])), blocks, channels)
        network.load_state_dict(_renamed(weights, depth))
    except KeyError as error:
        raise ValueError(f"no {error.args[0]}") from error
    except (IndexError, TypeError, RuntimeError) as error:
        raise ValueError(str(error).splitlines()[-1].strip()) from error
    return network.eval().requires_grad_(False)


def _mlp(weights: Mapping[str, Tensor], block: int, channels: int) -> nn.Module:
    gate = weights.get(f"blocks.{block}.mlp.w1.weight")
    if gate is not None:
        return _GatedMlp(channels, len(gate))
    return _Mlp(channels, len(weights[f"blocks.{block}.mlp.fc1.weight"]))


def _renamed(weights: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """The weights that are used, by our names: layers contain the scale that follows them, and biases their mask."""
    ours = {"cls_token": weights["cls_token"]}
    for kind in ("weight", "bias"):
        ours |= {f"patch.{kind}": weights[f"patch_embed.proj.{kind}"], f"norm.{kind}": weights[f"norm.{kind}"]}
    for block in (f"blocks.{i}." for i in range(depth)):
        own = {name.removeprefix(block): tensor for name, tensor in weights.items() if name.startswith(block)}
        last = "w3" if "mlp.w3.weight" in own else "fc2"
        for kind in ("weight", "bias"):
            for layer, scale in (("attn.proj", "ls1.gamma"), (f"mlp.{last}", "ls2.gamma")):
                if scale in own:
                    own[f"{layer}.{kind}"] = torch.einsum("o...,o->o...", own[f"{layer}.{kind}"], own[scale])
            own[f"attn.out_proj.{kind}"] = own.pop(f"attn.proj.{kind}")
        own["attn.in_proj_weight"] = own.pop("attn.qkv.weight")
        own["attn.in_proj_bias"] = own.pop("attn.qkv.bias") + own.pop("attn.qkv_bias_mask", 0)
        ours |= {f"{block}{name}": tensor for name, tensor in own.items() if not name.startswith("ls")}
    return ours
