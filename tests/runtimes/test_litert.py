"""LiteRT files: floats and integers, ours and others', and what is damaged in them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from whc.errors import ArtifactError, RuntimeUnavailable
from whc.records import ModelMetadata
from whc.runtimes import litert

Write = Callable[..., Path]
SIZE = (6, 4)

pytestmark = pytest.mark.usefixtures("write_litert")


@pytest.fixture
def properties(make_metadata: Callable[..., ModelMetadata]) -> dict[str, str]:
    return make_metadata(labels=["neutral", "lächelnd"], height=6, width=4).to_properties()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_integers_are_numbers_outside(
    write_litert: Write, properties: dict[str, str], tmp_path: Path, count: int
) -> None:
    session = litert.load(write_litert(tmp_path / "m.tflite", properties, SIZE, is_int8=True), litert.Config())
    levels = np.random.default_rng(count).integers(0, 256, (count, 3, *SIZE))
    means = session.run(levels.astype(np.float32) / np.float32(255))
    assert (means.dtype, means.shape) == (np.float32, (count,))
    np.testing.assert_allclose(means, levels.mean((1, 2, 3)) / 255, atol=0.51 / 255)


def test_numbers_out_of_range_become_its_ends(write_litert: Write, properties: dict[str, str], tmp_path: Path) -> None:
    session = litert.load(write_litert(tmp_path / "m.tflite", properties, SIZE, is_int8=True), litert.Config())
    given = np.stack([np.full((3, *SIZE), value, np.float32) for value in (-9, 0, 1, 9)])
    assert session.run(given) == pytest.approx([0, 0, 1, 1])


def test_pictures_are_turned_as_the_file_has_them(
    write_litert: Write, properties: dict[str, str], tmp_path: Path
) -> None:
    """The file is channels last: a session that passed its numbers on as they are would have another shape."""
    session = litert.load(write_litert(tmp_path / "m.tflite", properties, SIZE), litert.Config())
    assert session.input_shape == (1, 3, *SIZE)
    assert session.metadata().labels == ["neutral", "lächelnd"]


def test_a_file_of_others(write_litert: Write, tmp_path: Path) -> None:
    session = litert.load(write_litert(tmp_path / "m.tflite", {}, SIZE), litert.Config())
    assert not session.is_ours
    with pytest.raises(ArtifactError, match=r"must carry whc's metadata, got none; export it with `whc export`$"):
        session.metadata()


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"whc.task": 3}', b"\xff", b"[" * 100_000, b"3"])
def test_forged_metadata(write_litert: Write, tmp_path: Path, text: bytes) -> None:
    path = write_litert(tmp_path / "m.tflite", text, SIZE)
    with pytest.raises(ArtifactError, match=r"m\.tflite: whc's metadata is damaged \(.+\); export the model again$"):
        litert.load(path, litert.Config())


def test_a_file_cut_off_anywhere_is_refused(write_litert: Write, properties: dict[str, str], tmp_path: Path) -> None:
    path = write_litert(tmp_path / "m.tflite", properties, SIZE)
    whole = path.read_bytes()
    for length in np.linspace(0, len(whole) - 1, 30).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match=r"^.+m\.tflite: must be a LiteRT file that LiteRT can run, got: .+$"):
            litert.load(path, litert.Config())


def test_several_inputs(write_litert: Write, properties: dict[str, str], tmp_path: Path) -> None:
    path = write_litert(tmp_path / "m.tflite", properties, SIZE, inputs=2)
    with pytest.raises(ArtifactError, match=r"must have one float32 input, got .*more"):
        litert.load(path, litert.Config())


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(RuntimeUnavailable, match=r"^runtime litert: must be installed, got .+; install whc\[litert\]$"):
        litert.load(tmp_path / "m.tflite", litert.Config())


def test_nothing_is_written_to_stderr(
    write_litert: Write, properties: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    litert.load(write_litert(tmp_path / "m.tflite", properties, SIZE), litert.Config())
    assert capfd.readouterr() == ("", "")
