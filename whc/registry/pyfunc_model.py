"""The code of a registered version: a bundle as an MLflow model.

MLflow copies this file beside the bundle and runs the copy, also where whc is not installed or is of another version.
"""

import hashlib
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd

RUNNER = "whc_runner"


class BundledModel(mlflow.pyfunc.PythonModel):
    """Pictures in, answers out; `unwrap_python_model()` also takes arrays and paths, which no server does."""

    def load_context(self, context: Any) -> None:
        """Load the bundle."""
        folder = Path(context.artifacts["bundle"])
        runner = _runner(folder)
        self._told_error = import_module(f"{runner}.errors").WhcError
        self._table = import_module(f"{runner}.demo.serving").load(folder)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """The answers for JPEG or PNG files in the column `image`; see `whc.demo.serving.PictureTable`."""
        del context, params
        return self._answers(self._table.of_encoded, list(model_input["image"]), model_input)

    def predict_arrays(self, pictures: np.ndarray, order: pd.DataFrame | None = None) -> pd.DataFrame:
        """The answers for RGB pictures, uint8 (N, H, W, 3); `order` has the columns video_id and timestamp."""
        return self._answers(self._table.of_arrays, pictures, order)

    def predict_paths(self, paths: list[str | Path], order: pd.DataFrame | None = None) -> pd.DataFrame:
        """The answers for files; `order` has the columns video_id and timestamp."""
        return self._answers(self._table.of_paths, paths, order)

    def _answers(self, answer: Any, pictures: Any, order: pd.DataFrame | None) -> pd.DataFrame:
        columns = {} if order is None else {name: list(order[name]) for name in order if name != "image"}
        try:
            table = answer(pictures, columns.get("video_id"), columns.get("timestamp"))
        except self._told_error as error:  # one line, and the caller's mistake
            raise mlflow.exceptions.MlflowException.invalid_parameter_value(str(error)) from error
        return pd.DataFrame(table, columns=list(self._table.columns))


def _runner(folder: Path) -> str:
    """Import a bundle's modules under a name of its own, as a process may load several bundles; returns the name."""
    name = f"{RUNNER}_{hashlib.sha256(bytes(folder.resolve())).hexdigest()[:16]}"
    if name not in sys.modules:
        package = folder / RUNNER
        spec = spec_from_file_location(name, package / "__init__.py", submodule_search_locations=[str(package)])
        if spec is None or spec.loader is None:
            raise ImportError(f"{package}: must be the modules of a bundle")
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return name


mlflow.models.set_model(BundledModel())
