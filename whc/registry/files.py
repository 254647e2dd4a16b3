"""The files of registered versions: in the project's own folder, or with a shared registry, fetched into a cache."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.utils.file_utils import local_file_uri_to_path

from whc.errors import RegistryError
from whc.paths import user_cache
from whc.records import sha256
from whc.registry.location import Location

ROW_FILE, CARD_FILE, PAGE_FILE = "row.json", "README.md", "report.html"
_HASH_TAG = re.compile(r"(?P<suffix>[a-z]+)_sha256")
_DIGEST = re.compile("[0-9a-f]{64}")
ADVICE = "register the ladder again with `whc factory register`"


@dataclass(frozen=True)
class KeptFile:
    """A file of a version, of which `sha256` is the registered hash."""

    name: str
    sha256: str


class ModelFiles(Protocol):
    """Where the files of versions lie."""

    def has(self, run: Run) -> bool:
        """Whether a run's files are to be written here."""

    def write(self, run: Run, fill: Callable[[Path], None], version: ModelVersion | None) -> str:
        """Write the files of a run, which `fill` puts into a folder; `version` is one that has them already.

        Returns:
            Where MLflow finds them.
        """

    def model(self, version: ModelVersion, kept: KeptFile | None = None) -> Path:
        """The version's file on this machine, or another that it keeps, checked against its registered hash.

        Raises:
            RegistryError: it is gone, or was changed.
        """

    def row(self, version: ModelVersion) -> dict[str, Any]:
        """The version's row of its table; empty if its files are gone."""


class OwnFiles:
    """Files below the project's folder of artifacts; models are used in place."""

    def __init__(self, location: Location) -> None:
        self._location = location

    def has(self, run: Run) -> bool:
        """Whether the run's files lie in this project: a project that was moved or copied has its own."""
        return bool(run.info.artifact_uri == self._location.run_uri(run.info.run_id))

    def write(self, run: Run, fill: Callable[[Path], None], version: ModelVersion | None) -> str:
        """As `ModelFiles`: into the place itself, each file by renaming, as they may be in use."""
        del version
        fill(self._location.run_folder(run.info.run_id))
        return self._location.run_uri(run.info.run_id)

    def model(self, version: ModelVersion, kept: KeptFile | None = None) -> Path:
        """As `ModelFiles`."""
        wanted = kept or own_file(version)
        for folder in self._folders(version):
            path = folder / wanted.name
            if path.is_file():
                if sha256(path) != wanted.sha256:
                    raise RegistryError(f"{path}: must be the file that was registered, got other bytes; {ADVICE}")
                return path
        missing = self._folders(version)[0] / wanted.name
        raise RegistryError(f"{version.name}/{version.version}: must be at {missing}, got nothing there; {ADVICE}")

    def row(self, version: ModelVersion) -> dict[str, Any]:
        """As `ModelFiles`."""
        return next(
            (_read(folder / ROW_FILE) for folder in self._folders(version) if (folder / ROW_FILE).is_file()), {}
        )

    def _folders(self, version: ModelVersion) -> tuple[Path, Path]:
        """This project's own place comes first: in a copied project, MLflow's paths lead to the original one."""
        return self._location.run_folder(str(version.run_id)), Path(local_file_uri_to_path(version.source))


class SharedFiles:
    """Files that MLflow stores for a shared registry; models come by their hash from the user's cache."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def has(self, run: Run) -> bool:
        """All runs have their files there."""
        del run
        return True

    def write(self, run: Run, fill: Callable[[Path], None], version: ModelVersion | None) -> str:
        """As `ModelFiles`; what a version has is not sent again, as others may fetch it meanwhile."""
        with tempfile.TemporaryDirectory(prefix="whc-version-") as scratch:
            fill(Path(scratch))
            if version and self._is_whole(version):
                present = self._names(version) - {CARD_FILE, ROW_FILE, PAGE_FILE}
                # Another build of the same network may have made its other files anew.
                present -= {kept.name for kept in kept_files(self.row(version)) if not _is_same(Path(scratch), kept)}
                for path in Path(scratch).iterdir():
                    if path.is_file() and path.name not in present:
                        self._client.log_artifact(run.info.run_id, str(path))
            else:
                self._client.log_artifacts(run.info.run_id, scratch)
        return str(run.info.artifact_uri)

    def model(self, version: ModelVersion, kept: KeptFile | None = None) -> Path:
        """As `ModelFiles`."""
        wanted, where = kept or own_file(version), f"{version.name}/{version.version}"
        if not _DIGEST.fullmatch(wanted.sha256):
            raise RegistryError(f"{where}: must have its file's hash as a tag, got {wanted.sha256!r}; {ADVICE}")
        path = cached(wanted.sha256, wanted.name)
        if path.is_file() and sha256(path) == wanted.sha256:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as scratch:
            fetched = Path(self._client.download_artifacts(str(version.run_id), path.name, scratch))
            if sha256(fetched) != wanted.sha256:
                raise RegistryError(f"{where}: must be the file that was registered, got other bytes; {ADVICE}")
            fetched.replace(path)
        return path

    def row(self, version: ModelVersion) -> dict[str, Any]:
        """As `ModelFiles`."""
        if ROW_FILE not in self._names(version):
            return {}
        with tempfile.TemporaryDirectory(prefix="whc-row-") as scratch:
            return _read(Path(self._client.download_artifacts(str(version.run_id), ROW_FILE, scratch)))

    def _is_whole(self, version: ModelVersion) -> bool:
        if not {MLMODEL_FILE_NAME, own_file(version).name} <= self._names(version):
            return False
        try:
            self.model(version)
        except RegistryError:
            return False
        return True

    def _names(self, version: ModelVersion) -> set[str]:
        return {file.path for file in self._client.list_artifacts(str(version.run_id))}


def cached(digest: str, name: str) -> Path:
    """Where a fetched model lies, or would."""
    return user_cache() / "models" / digest / name


def kept_files(row: Mapping[str, Any]) -> list[KeptFile]:
    """The files beside its own that a row of a table keeps, fastest first."""
    kept = [tried for tried in row.get("artifacts", []) if tried.get("file")]
    kept.sort(key=lambda tried: float(tried.get("latency_ratio") or math.inf))
    return [KeptFile(tried["file"].rpartition("/")[2], str(tried.get("sha256"))) for tried in kept]


def files_of(location: Location, client: MlflowClient) -> ModelFiles:
    """The files of a registry."""
    return SharedFiles(client) if location.is_shared else OwnFiles(location)


def hash_tag(path: Path) -> str:
    """Name of the tag with the hash of a version's own file; it tells the kind of that file too."""
    return f"{path.suffix.removeprefix('.')}_sha256"


def own_file(version: ModelVersion) -> KeptFile:
    """A version's own file, which its name means unless another kind is asked for."""
    found = [match["suffix"] for tag in version.tags if (match := _HASH_TAG.fullmatch(tag))]
    name = f"{version.name}.{found[0] if found else 'onnx'}"
    return KeptFile(name, str(version.tags.get(hash_tag(Path(name)))))


def _is_same(folder: Path, kept: KeptFile) -> bool:
    path = folder / kept.name
    return path.is_file() and sha256(path) == kept.sha256


def _read(path: Path) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return row
