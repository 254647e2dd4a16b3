"""Metadata that are written into a file after its export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whc import plugins
from whc.export.metadata import rewrite
from whc.records import ModelMetadata
from whc.runtimes import Session, choose_for
from whc.training.checkpoint import Checkpoint
from whc.trials.artifacts import export, restore, untrained
from whc.trials.config import TrialConfig

LAW = {"short_s": 0.1, "long_s": 0.3, "hysteresis": 0.05}


def opened(path: Path) -> Session:
    choice = choose_for([path])
    session: Session = plugins.load("runtimes", choice.name).load(path, choice.config)
    return session


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    config = TrialConfig.model_validate({"model": {"width": 4, "depth": 1, "image_size": 16}})
    labels = ["still", "winkt 手"]
    origin = Checkpoint(config.resolved(), untrained(config, labels).state_dict(), labels, None, "f00d", "1", 1, 0.5)
    export(*restore(origin, "test"), origin, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def litert_file(write_litert: Callable[..., Path], make_metadata: Callable[..., ModelMetadata], tmp_path: Path) -> Path:
    metadata = make_metadata(labels=["still", "winkt 手"], height=16, width=16)
    return write_litert(tmp_path / "model.tflite", metadata.to_properties(), (16, 16), is_int8=True)


@pytest.mark.parametrize("kind", ["onnx_file", "litert_file"])
def test_all_else_stays(kind: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(kind)
    images: Any = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    before = opened(path)
    expected, metadata = before.run(images), before.metadata()
    changed = metadata.model_copy(update={"task_config": {"threshold": 0.4, "smoothing": LAW}})
    rewrite(path, changed)
    once, after = path.read_bytes(), opened(path)
    assert after.metadata() == changed
    np.testing.assert_array_equal(after.run(images), expected)
    rewrite(path, changed)
    assert path.read_bytes() == once
    rewrite(path, metadata)
    assert opened(path).metadata() == metadata
