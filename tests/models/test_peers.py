"""Our networks compute what the originals do: their checkpoints, their inputs, their logits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from whc.models.assemble import ModelConfig, build

ROOT = Path(__file__).parents[2]
AUTO = {"baseline": "avg", "inverted_se": "avgmax_mlp", "convnext": "transformer"}
SHARED = Path(os.environ.get("WHC_SHARED", ROOT.parent / "shared"))


def config(original: dict[str, Any], image_size: list[int]) -> ModelConfig:
    """The originals' words in ours."""
    backbone = original["arch_variant"]
    if backbone == "inverted_se":
        backbone = {backbone: {"expansion": original["expansion"], "se_reduction": original["se_reduction"]}}
    return ModelConfig.model_validate(
        {
            "backbone": backbone,
            "head": AUTO[original["arch_variant"]] if original["head_variant"] == "auto" else original["head_variant"],
            "color": "luma" if original["rgb_to_yuv_to_y"] else "rgb",
            "width": original["base_channels"],
            "depth": original["num_blocks"],
            "image_size": "{}x{}".format(*image_size),
            "dropout": original["dropout"],
        }
    )


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        f"head.layers.{name.removeprefix('head.')}" if name.startswith("head.") else f"backbone.{name}": tensor
        for name, tensor in state.items()
    }


@pytest.mark.parametrize("name", ["baseline_avg", "baseline_avg_luma", "convnext_avg_48x30", "inverted_se_avgmax_mlp"])
def test_logits(name: str) -> None:
    path = SHARED / "peer" / f"{name}.pt"
    if not path.is_file():
        pytest.skip(f"the originals' checkpoints are not here ({path}); set WHC_SHARED")
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    network = build(config(checkpoint["model_config"], checkpoint["normalization"]["image_size"]), outputs=1).eval()
    network.load_state_dict(renamed(checkpoint["model_state"]), strict=True)
    with np.load(path.with_suffix(".npz")) as golden, torch.inference_mode():
        ours = network(torch.from_numpy(golden["images"])).squeeze(1).numpy()
        assert ours.std() > 0.5
        np.testing.assert_allclose(ours, golden["logits"], atol=1e-4)
