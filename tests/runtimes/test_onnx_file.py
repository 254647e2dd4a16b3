"""What a file says of itself is the same in every runtime, and so is what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from whc import plugins
from whc.errors import ArtifactError, RuntimeUnavailable
from whc.records import ModelMetadata
from whc.runtimes import Session, onnx_file

Build = Callable[..., Path]
Load = Callable[[Path], Session]


READERS = [name for name in plugins.names("runtimes") if plugins.load("runtimes", name).SUFFIX == ".onnx"]


@pytest.fixture(params=READERS)
def load(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads a file by each runtime that is here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    module: Any = plugins.load("runtimes", request.param)

    def loaded(path: Path) -> Session:
        try:
            session: Session = module.load(path, module.Config())
        except RuntimeUnavailable as error:
            pytest.skip(str(error))
        return session

    return loaded


def refusal(load: Load, path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: must ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def noise(*shape: int) -> Any:
    return np.random.default_rng(0).random(shape, np.float32)


@pytest.mark.parametrize(("batch", "expected"), [("batch", 1), (None, 1), (1, 1), (8, 8)])
def test_input_shape(build: Build, load: Load, batch: int | str, expected: int) -> None:
    assert load(build((batch, 3, 4, 6))).input_shape == (expected, 3, 4, 6)


def test_open_frames_are_as_many_as_the_metadata_say(build: Build, load: Load, metadata: ModelMetadata) -> None:
    properties = metadata.model_copy(update={"frames": 5}).to_properties()
    session = load(build(("batch", "frames", 4, 6), properties))
    assert session.input_shape == (1, 5, 4, 6)
    images = noise(2, 5, 4, 6)
    assert session.run(images) == pytest.approx(images.mean(axis=(1, 2, 3)), abs=1e-3)


@pytest.mark.parametrize(
    ("shape", "properties"),
    [(("batch", 3, "height", 6), None), (("batch", "time", 4, 6), None), (("batch", "frames", 4, 6), {})],
)
def test_input_of_unknown_size(
    build: Build, load: Load, shape: tuple[int | str, ...], properties: dict[str, str] | None
) -> None:
    (opened,) = (size for size in shape[1:] if isinstance(size, str))
    with pytest.raises(ArtifactError, match=rf"m\.onnx: must have fixed sizes, .*; fix '{opened}' by `whc export` or "):
        _ = load(build(shape, properties)).input_shape


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_batch_of_one_alone_is_run_one_by_one(build: Build, load: Load, count: int) -> None:
    images = noise(count, 3, 4, 6)
    probabilities = load(build((1, 3, 4, 6))).run(images)
    assert probabilities.shape == (count,)
    assert probabilities == pytest.approx(images.mean(axis=(1, 2, 3)), abs=1e-3)


def test_images_may_lie_in_memory_in_any_order(build: Build, load: Load) -> None:
    session = load(build())
    for seed in range(20):
        images = np.random.default_rng(seed).random((5, 4, 6, 3), np.float32).transpose(0, 3, 1, 2)
        assert session.run(images) == pytest.approx(images.mean(axis=(1, 2, 3)), abs=1e-3)


def test_metadata_comes_back(build: Build, load: Load, metadata: ModelMetadata) -> None:
    assert load(build()).metadata() == metadata


@pytest.mark.parametrize(
    ("kept", "changes", "message"),
    [
        (False, {}, "must carry whc's metadata"),
        (False, {"author": "somebody"}, "must carry whc's metadata"),
        (False, {"whc.task": "classification"}, "metadata is damaged"),
        (True, {"whc.labels": "[1,"}, "metadata is damaged"),
        (True, {"whc.schema": "99"}, "upgrade whc"),
    ],
)
def test_metadata_that_is_not_ours(
    build: Build, load: Load, metadata: ModelMetadata, kept: bool, changes: dict[str, str], message: str
) -> None:
    session = load(build(properties=(metadata.to_properties() if kept else {}) | changes))
    with pytest.raises(ArtifactError, match=message) as caught:
        session.metadata()
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path, load: Load) -> None:
    assert "got nothing there" in refusal(load, tmp_path / "m.onnx")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x07" * 100])
def test_not_onnx(tmp_path: Path, load: Load, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    assert "must be an ONNX file that " in refusal(load, tmp_path / "m.onnx")
    assert capfd.readouterr() == ("", "")


def test_truncated(build: Build, load: Load) -> None:
    path = build()
    path.write_bytes(path.read_bytes()[:-20])
    refusal(load, path)


def test_unknown_operator(build: Build, load: Load) -> None:
    assert "must be an ONNX file that " in refusal(load, build(operator="Juggle"))


def test_two_inputs(build: Build, load: Load) -> None:
    assert "must have one float32 input, got [('images', '" in refusal(load, build(extra_input=True))


def test_a_number_is_no_batch_of_images(tmp_path: Path, load: Load) -> None:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    number, same = (helper.make_tensor_value_info(name, kind, []) for name in ("number", "same"))
    graph = helper.make_graph([helper.make_node("Identity", ["number"], ["same"])], "same", [number], [same])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    with pytest.raises(ArtifactError, match="must have fixed sizes"):
        _ = load(tmp_path / "m.onnx").input_shape


def test_weights_listed_as_inputs_are_none(build: Build) -> None:
    path = build()
    model = onnx.load(path)
    model.graph.input.append(onnx.helper.make_tensor_value_info("axes", onnx.TensorProto.INT64, [3]))
    onnx.save(model, path)
    file, _ = onnx_file.read(path)
    assert (file.input, file.output, file.shape) == ("images", "prob", ("batch", 3, 4, 6))


def test_a_name_that_is_not_utf8(build: Build, load: Load) -> None:
    path = build(properties={"author": "somebody"})
    path.write_bytes(path.read_bytes().replace(b"somebody", b"some\xebody"))
    assert "must be an ONNX file that " in refusal(load, path)


def test_what_a_library_raises_while_it_runs_is_one_line(build: Build, load: Load) -> None:
    path = build()
    session = load(path)
    with pytest.raises(ArtifactError) as caught:
        session.run(noise(1, 3, 5, 6))
    assert str(caught.value).startswith(f"{path}: ")
    assert "must be " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [("batch", 3, 60_000, 30_000), ("batch", 3, 0, 6)])
def test_an_input_of_a_size_that_nobody_means(build: Build, shape: tuple[int | str, ...]) -> None:
    file, _ = onnx_file.read(build(shape))
    with pytest.raises(ArtifactError, match=r"m\.onnx: input must have sizes above 0, and at most 50331648 numbers"):
        _ = file.input_shape
