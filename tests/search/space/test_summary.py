"""A network in a few words."""

from __future__ import annotations

import pytest

from whc.search.space.summary import summary
from whc.trials.config import TrialConfig


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ({}, "baseline/avg rgb w32 d4 32px"),
        ({"backbone": {"inverted_se": {}}, "color": "luma", "width": 16}, "inverted_se/avg luma w16 d4 32px"),
        ({"sequence": {"frame_stack": {"frames": 6}}, "image_size": "48x30"}, "baseline/avg rgb w32 d4 48x30px x6"),
        ({"sequence": {"lstm": {"frames": 3}}, "color": "lab"}, "baseline/lstm lab w32 d4 32px x3"),
        (
            {"sequence": {"frame_stack": {"frames": 4, "differences": True}}},
            "baseline/avg rgb w32 d4 32px x4 differences",
        ),
        ({"sequence": {"3dcnn": {"frames": 5}}, "width": 8}, "cnn3d rgb w8 32px x5"),
        ({"head": {"transformer": {"grid": "2x4"}}}, "baseline/transformer rgb w32 d4 32px"),
    ],
)
def test_summary(model: dict[str, object], told: str) -> None:
    assert summary(TrialConfig.model_validate({"model": model}).resolved()) == told
