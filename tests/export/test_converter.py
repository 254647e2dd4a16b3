"""What is handed to the converter to LiteRT, which runs in an environment of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from whc import tasks
from whc.errors import ArtifactError
from whc.export import converter
from whc.models.assemble import build
from whc.records import ModelMetadata
from whc.trials.config import TrialConfig


class _Constant(nn.Module):
    """Holds a constant as detection heads do, which PyTorch exports with a `detach_`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.tensor([1.0, 2.0])


def test_what_matters_to_gradients_alone_is_removed() -> None:
    program = torch.export.export(_Constant(), (torch.ones(1, 2),))
    assert "aten.detach_.default" in {str(node.target) for node in program.graph.nodes}
    converter._drop_detached(program)
    assert "aten.detach_.default" not in {str(node.target) for node in program.graph.nodes}
    network: Any = program.module()
    assert network(torch.ones(1, 2)).tolist() == [[1, 2]]


def test_an_operator_that_litert_lacks_is_named(
    tmp_path: Path, make_metadata: Callable[..., ModelMetadata], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converter, "require", lambda: None)
    metadata = make_metadata(task="detection", labels=["head"], task_config={}, height=32, width=32)
    network = {"head": "anchor", "width": 4, "depth": 3, "image_size": 32}
    config = TrialConfig.model_validate({"model": network, "task": "detection"})
    task, path = tasks.of_file(metadata), tmp_path / "m.tflite"
    with pytest.raises(ArtifactError) as caught:
        converter.convert(build(config.model, task.outputs), task, path, metadata, config.model.input_shape)
    told = "LiteRT must have every operator of the network, got whc.without_duplicates.default, which it lacks; "
    assert str(caught.value).startswith(f"{path}: {told}")
    assert not list(tmp_path.iterdir())
