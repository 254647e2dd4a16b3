"""A variant as an MLflow model: a bundle, with code that MLflow runs, a signature and an input example."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.types.schema import AnyType, ColSpec, Schema

from whc.demo import serving
from whc.export import bundle
from whc.records import sha256

BUNDLE = "bundle"
_CODE = Path(__file__).with_name("pyfunc_model.py")
_FLAVOR = "python_function"


def write(exported: Path, folder: Path) -> None:
    """Add the MLflow model of an exported file to a folder, unless it is there already; one process at a time.

    MLflow sees no model before all its files are complete: the file that describes them gets its name last.

    Raises:
        ArtifactError: whc did not export the file, or this version does not know its task.
        UsageError: the folder cannot be written.
    """
    scratch = folder / ".model"
    shutil.rmtree(scratch, ignore_errors=True)  # left by a process that was killed
    if _is_complete(exported, folder):
        return
    (folder / MLMODEL_FILE_NAME).unlink(missing_ok=True)
    # Not in the folder itself: MLflow reads a `%` in the paths that it saves from as the start of an escape.
    with tempfile.TemporaryDirectory(prefix="whc-model-") as place:
        _save(exported, Path(place) / BUNDLE, Path(place) / "model")
        shutil.copytree(Path(place) / "model", scratch)
    for path in sorted(scratch.iterdir(), key=lambda path: path.name == MLMODEL_FILE_NAME):
        _replace(path, folder / path.name)
    scratch.rmdir()


def bundle_folder(folder: Path) -> Path:
    """Where the bundle lies in the folder of an MLflow model."""
    return folder / "artifacts" / BUNDLE


def _is_complete(exported: Path, folder: Path) -> bool:
    model = bundle_folder(folder) / f"model{exported.suffix}"
    return (folder / MLMODEL_FILE_NAME).is_file() and model.is_file() and sha256(model) == sha256(exported)


def _replace(path: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    path.replace(target)


def _save(exported: Path, files: Path, model: Path) -> None:
    bundle.write(exported, files)
    table = serving.load(files)
    example = _example(files, table.is_of_sequences)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow calls pandas in ways that a later pandas will refuse
        mlflow.pyfunc.save_model(
            str(model),
            python_model=str(_CODE),
            artifacts={BUNDLE: str(files)},
            signature=_signature(table),
            input_example=example,
            pip_requirements=bundle.requirements(exported),
        )
    _forget_places(model)


def _signature(table: serving.PictureTable) -> ModelSignature:
    inputs = [ColSpec("binary", "image")]
    if table.is_of_sequences:
        inputs += [ColSpec("string", "video_id"), ColSpec(AnyType(), "timestamp")]
    kinds = {serving.ROW_COLUMN: "long"} | dict.fromkeys(table.number_columns, "double")
    return ModelSignature(Schema(inputs), Schema([ColSpec(kinds.get(name, "string"), name) for name in table.columns]))


def _example(files: Path, is_of_sequences: bool) -> pd.DataFrame:
    """The sample of a bundle as a table."""
    pictures = [path.read_bytes() for path in sorted((files / "sample").iterdir())]
    table = pd.DataFrame({"image": pictures})
    if is_of_sequences:
        table = table.assign(video_id="sample", timestamp=[float(number) for number in range(len(pictures))])
    return table


def _forget_places(model: Path) -> None:
    """Take from a model's description the paths of the files that it was made of: the folder holds them all."""
    description = Model.load(str(model))
    flavor = description.flavors[_FLAVOR]
    flavor["model_code_path"] = _CODE.name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    description.save(str(model / MLMODEL_FILE_NAME))
