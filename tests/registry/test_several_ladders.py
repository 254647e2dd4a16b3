"""The ladders of one study in the registry: each under its own prefix, promoted by itself, also of .tflite files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

pytest.importorskip("mlflow.tracking")

import mlflow
import pandas as pd

from whc.records import Champion, LadderTable, ModelMetadata
from whc.registry import store
from whc.registry.location import Location
from whc.registry.models import Registry

Ladder = Callable[..., tuple[LadderTable, Path]]


@pytest.fixture
def two(
    location: Location, ladder: Ladder, make_metadata: Callable[..., ModelMetadata], write_litert: Callable[..., Path]
) -> tuple[LadderTable, Path]:
    """The ladders of a study: `whc` of ONNX files, and `whc_lite` of .tflite files."""
    del location  # which makes the folder of the studies
    table, folder = ladder("ml")
    rows = []
    for number, row in enumerate(table.variants[:1]):
        described = make_metadata(labels=table.labels, height=8, width=8, code_version=str(number))
        path = write_litert(folder / "ladder" / f"lite_{number}.tflite", described.to_properties(), (8, 8))
        named = {"name": "whc_lite_m", "file": f"ladder/{path.name}", "runtime": "litert"}
        rows.append(row.model_copy(update=named))
    lite = {"prefix": "whc_lite", "artifact": "litert", "runtime": "litert", "variants": rows}
    return table.model_copy(update={"others": [table.model_copy(update=lite)]}), folder


def test_each_ladder_is_registered_under_its_own_prefix(
    two: tuple[LadderTable, Path], location: Location, tmp_path: Path
) -> None:
    table, folder = two
    registry = Registry(location)
    lines = registry.ladder_built(table, folder)
    assert [line.split()[1] for line in lines] == ["whc_m", "whc_l", "whc_lite_m"]
    path = registry.resolve("whc_lite_m")
    assert (path.name, path.read_bytes()) == (
        "whc_lite_m.tflite",
        (folder / table.others[0].variants[0].file).read_bytes(),
    )
    client = store.connect(location)
    version = client.get_model_version_by_alias("whc_lite_m", "champion")
    assert version.tags["tflite_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "onnx_sha256" not in version.tags
    assert "whc_lite_m.tflite" in version.description
    # The same ladders again: the same versions.
    assert [line.split()[1:4:2] for line in registry.ladder_built(table, folder)] == [
        ["whc_m", "1,"],
        ["whc_l", "1,"],
        ["whc_lite_m", "1,"],
    ]
    served = mlflow.pyfunc.load_model(str(location.run_folder(version.run_id)))
    sample = next((path.parent / "artifacts" / "bundle" / "sample").iterdir())
    assert len(served.predict(pd.DataFrame({"image": [sample.read_bytes()]}))) == 1


def test_a_refused_ladder_leaves_the_other_promoted(two: tuple[LadderTable, Path], location: Location) -> None:
    def gate(table: LadderTable, folder: Path, champions: Sequence[Champion]) -> str:
        del folder, champions
        return "it lost" if table.prefix == "whc_lite" else ""

    lines, refusal = Registry(location, gate).promote(*two)
    assert refusal == "it lost"
    assert lines[-1] == "registered whc_lite_m version 1"
    assert [champion.name for champion in Registry(location).champions("whc")] == ["whc_m", "whc_l"]
    assert Registry(location).champions("whc_lite") == []
