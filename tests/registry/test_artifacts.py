"""Other kinds of file that a variant keeps: registered with it, and run by its name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("mlflow.tracking")
pytest.importorskip("ai_edge_litert")

import whc.cli
from whc.errors import RegistryError
from whc.records import LadderTable, ModelMetadata, TriedArtifact, sha256
from whc.registry import store
from whc.registry.location import Location
from whc.registry.models import Registry

Built = tuple[LadderTable, Path]
Build = Callable[..., Built]
Command = Callable[..., tuple[int, str, str]]
LABELS = ["still", "waving"]


@pytest.fixture
def registry(location: Location) -> Registry:
    return Registry(location)


@pytest.fixture
def build(ladder: Build, write_litert: Callable[..., Path], make_metadata: Callable[..., ModelMetadata]) -> Build:
    """Writes a ladder of one variant that keeps whc_m.litert.tflite, and whc_m.litert_int8.tflite, which is faster."""

    def built() -> Built:
        table, folder = ladder("m")
        properties = make_metadata(labels=LABELS, height=8, width=8).to_properties()
        artifacts = [TriedArtifact(kind="onnx_int8", verdict="dropped: it could not be timed")]
        for kind, ratio in (("litert", 0.4), ("litert_int8", 0.3)):
            file = f"ladder/whc_m.{kind}.tflite"
            write_litert(folder / file, properties, (8, 8), is_int8=kind == "litert_int8")
            size = (folder / file).stat().st_size
            kept = TriedArtifact(kind=kind, file=file, sha256=sha256(folder / file), verdict="kept", size_bytes=size)
            figures = {"runtime": "litert", "val_score": 0.8, "latency_ratio": ratio, "ratio_to_onnx": ratio}
            artifacts.append(kept.model_copy(update=figures | {"ratio_low": ratio, "ratio_high": ratio}))
        row = table.variants[0].model_copy(update={"artifacts": artifacts})
        return table.model_copy(update={"variants": [row]}), folder

    return built


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs `whc` where the registry is that of the current directory; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["whc", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            whc.cli.main()
        assert isinstance(end.value.code, int)
        return (end.value.code, *capfd.readouterr())

    return run


def test_kept_files_are_registered_along(registry: Registry, build: Build, location: Location) -> None:
    table, folder = build()
    kept = table.variants[0].artifacts[1]
    content = (folder / kept.file).read_bytes()
    (folder / kept.file).unlink()
    with pytest.raises(RegistryError, match=r"^whc_m: each of its files must exist, got "):
        registry.ladder_built(table, folder)
    (folder / kept.file).write_bytes(content)
    registry.ladder_built(table, folder)
    registered = registry.resolve("whc_m").parent
    names = ["whc_m.litert.tflite", "whc_m.litert_int8.tflite", "whc_m.onnx"]
    assert sorted(path.name for path in registered.glob("whc_m*")) == names
    card = store.connect(location).get_model_version_by_alias("whc_m", "champion").description
    assert "- Also as `litert`, for the runtime litert: validation F1 0.8000, 0.40 (0.40 to 0.40) times" in card
    assert "onnx_int8" not in card


def test_the_runtime_chooses_the_file(registry: Registry, build: Build, command: Command, tmp_path: Path) -> None:
    registry.ladder_built(*build())
    assert registry.resolve("whc_m", ".tflite").name == "whc_m.litert_int8.tflite"
    picture = cv2.imencode(".png", np.full((20, 20, 3), 200, np.uint8))[1].tobytes()
    rows = [{"split": "val", "image_bytes": picture, "class_id": kind, "label": LABELS[kind]} for kind in (0, 1)]
    pd.DataFrame(rows).to_parquet(tmp_path / "d.parquet")
    for arguments in (
        ("predict", "--model", "whc_m", "--source", "d.parquet", "--out", "p.csv"),
        ("val", "--model", "whc_m/1", "--data", "d.parquet"),
        ("demo", "--model", "whc_m@champion", "--headless"),
    ):
        code, out, err = command(*arguments, "--runtime", "litert", "--json")
        assert (code, "error" in err) == (0, False)
        assert "whc_m.litert_int8.tflite" in out or arguments[0] == "val"
    for runtime, file in (("litert", "whc_m.litert_int8.tflite"), ("onnxruntime_cpu", "whc_m.onnx")):
        code, out, err = command("bench", "whc_m", "--runtime", runtime, "--json")
        (timed,) = json.loads(out)["files"]
        assert (code, Path(timed["path"]).name, timed["latency"]["runtime"]) == (0, file, runtime)


def test_a_name_without_such_a_file_says_which_there_are(registry: Registry, ladder: Build, command: Command) -> None:
    registry.ladder_built(*ladder("ml"))
    for arguments in (("demo", "--headless", "--model"), ("bench",)):
        code, out, err = command(*arguments, "whc_l", "--runtime", "litert")
        said = "error: whc_l/1: must have a .tflite file for this runtime, got whc_l.onnx alone; "
        assert (code, out, err[: len(said)], err.count("\n")) == (1, "", said, 1)
    code, out, err = command("demo", "--headless", "--model", "whc_l", "--runtime", "litter")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: runtime: must be one of litert, ")


def test_a_changed_file_is_refused_until_it_is_registered_again(registry: Registry, build: Build) -> None:
    table, folder = build()
    registry.ladder_built(table, folder)
    path = registry.resolve("whc_m", ".tflite")
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(RegistryError, match=r"int8\.tflite: must be the file that was registered, got other bytes"):
        registry.resolve("whc_m", ".tflite")
    path.unlink()
    with pytest.raises(RegistryError, match=r"whc_m/1: must be at .*int8\.tflite, got nothing there; register"):
        registry.resolve("whc_m", ".tflite")
    registry.resolve("whc_m")  # whose own file is whole
    registry.ladder_built(table, folder)
    assert registry.resolve("whc_m", ".tflite") == path


@pytest.mark.slow
def test_a_shared_registry_gets_files_that_another_build_made_anew(
    postgres: Callable[[], str], build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    location = Location(tracking_uri=postgres(), artifacts=tmp_path / "artifacts")
    table, folder = build()
    Registry(location).ladder_built(table, folder)
    row = table.variants[0]
    kept = row.artifacts[-1]
    old = Registry(location).resolve("whc_m", ".tflite").read_bytes()
    assert old == (folder / kept.file).read_bytes()
    (folder / kept.file).write_bytes(old + b"\0")
    changed = kept.model_copy(update={"sha256": sha256(folder / kept.file)})
    row = row.model_copy(update={"artifacts": [*row.artifacts[:-1], changed]})
    Registry(location).ladder_built(table.model_copy(update={"variants": [row]}), folder)
    assert Registry(location).resolve("whc_m/1", ".tflite").read_bytes() == old + b"\0"
