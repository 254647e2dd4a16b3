"""Results of earlier builds, kept in a study's folder, so that the next build computes only what has changed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from whc import records
from whc.config import fingerprint
from whc.errors import StudyError
from whc.records import LatencySession, replacing

FINISHED_FOLDER = "finished"


@dataclass(frozen=True)
class FinishedResults:
    """Results in `folder`, each in a file that is named by the hash of all that the result depends on.

    A file that is missing or damaged counts as not computed. Each file that a build looks for is one that its table
    uses.
    """

    folder: Path
    _used: set[str] = field(default_factory=set)

    def arrays(self, depends_on: Mapping[str, Any]) -> dict[str, NDArray[Any]] | None:
        """The arrays of a result; None if it is to be computed."""
        try:
            # NumPy leaves a damaged file open that it has opened itself.
            with self._path(depends_on, ".npz").open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                return {name: file[name] for name in file}
        except (OSError, ValueError, EOFError, BadZipFile):
            return None

    def keep_arrays(self, depends_on: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep the arrays of a result."""
        with replacing(self._path(depends_on, ".npz")) as temporary:
            np.savez(temporary, allow_pickle=False, **arrays)

    def session(self, depends_on: Mapping[str, Any]) -> LatencySession | None:
        """A timing session; None if there is none."""
        try:
            return records.load(LatencySession, self._path(depends_on, ".json"))
        except StudyError:
            return None

    def keep_session(self, depends_on: Mapping[str, Any], session: LatencySession) -> None:
        """Keep a timing session in the place of an earlier one."""
        records.save(session, self._path(depends_on, ".json"))

    def file(self, depends_on: Mapping[str, Any], source: Path) -> Path:
        """The place of a copy of `source`, such as a checkpoint."""
        return self._path(depends_on, source.suffix)

    def keep_file(self, depends_on: Mapping[str, Any], source: Path) -> None:
        """Keep a copy of a file."""
        with replacing(self.file(depends_on, source)) as temporary:
            shutil.copyfile(source, temporary)

    def forget_unused(self) -> None:
        """Delete every result that this build has not looked for."""
        for path in self.folder.glob("*"):
            if path.name not in self._used:
                path.unlink(missing_ok=True)

    def _path(self, depends_on: Mapping[str, Any], suffix: str) -> Path:
        name = f"{fingerprint(depends_on)}{suffix}"
        self._used.add(name)
        return self.folder / name
