"""Storage for trials where workers share no folder with the driver: any file system that pyarrow supports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pyarrow.fs import FileSelector, FileSystem, FileType

from whc.errors import StudyError, UsageError, problem
from whc.records import replacing

RECORD_FILE = "record.json"  # shows that a trial is over, and so is written last


@dataclass(frozen=True)
class Storage:
    """A study's trials, each a folder `<uri>/<study>/trials/<trial_id>/`.

    `uri` is what Ray accepts as storage: `s3://bucket/folder`, `gs://...`, `file:///...` or a folder that every node
    mounts. Text after a `?` holds pyarrow's options.
    """

    uri: str
    study: str

    @cached_property
    def _at(self) -> tuple[FileSystem, str]:
        """The file system, and the folder of the trials there.

        Raises:
            UsageError: this kind of storage is unknown, or it cannot be reached.
        """
        try:
            filesystem, path = FileSystem.from_uri(self.uri)
            folder = f"{path.rstrip('/')}/{self.study}/trials"
            filesystem.create_dir(folder, recursive=True)
        except (OSError, ValueError) as error:  # pyarrow's own errors are among these
            reason = f"{self.uri} ({str(error).splitlines()[0]})"
            rule = "must be a folder or a URI that every node can write to"
            raise UsageError(f"storage: {rule}, got {reason}; give one such as s3://bucket/folder") from error
        return filesystem, folder

    def check(self) -> None:
        """Raise UsageError when the storage cannot be written to."""
        assert self._at  # noqa: S101 (always true: it is evaluated because it opens the storage)

    def trial_ids(self) -> list[str]:
        """Ids of all stored trials, finished or not, in order."""
        filesystem, folder = self._at
        entries = filesystem.get_file_info(FileSelector(folder))
        return sorted(
            entry.base_name for entry in entries if entry.type == FileType.Directory and entry.base_name.isdigit()
        )

    def fetch(self, trial_id: str, names: Iterable[str], into: Path) -> None:
        """Copy the named files of a trial, in this order; those that it does not have are skipped."""
        filesystem, folder = self._at
        paths = [f"{folder}/{trial_id}/{name}" for name in names]
        for entry in filesystem.get_file_info(paths):
            if entry.type == FileType.File:
                with filesystem.open_input_stream(entry.path) as stream, replacing(into / entry.base_name) as temporary:
                    temporary.write_bytes(stream.read())

    def store(self, trial_id: str, folder: Path) -> None:
        """Copy a trial's files to the storage, its record last.

        Raises:
            StudyError: the storage cannot be written to.
        """
        filesystem, trials = self._at
        target = f"{trials}/{trial_id}"
        files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
        try:
            filesystem.create_dir(target, recursive=True)
            for path in sorted(files, key=lambda path: (path.name == RECORD_FILE, path.name)):
                with filesystem.open_output_stream(f"{target}/.{path.name}.tmp") as stream:
                    stream.write(path.read_bytes())
                filesystem.move(f"{target}/.{path.name}.tmp", f"{target}/{path.name}")
        except OSError as error:
            reason = str(error).splitlines()[0]
            raise StudyError(problem(self.uri, "must be writable", reason, "make it so, then use --resume")) from error

    def drop(self, trial_id: str) -> None:
        """Remove the files of a trial that was interrupted, if there are any."""
        filesystem, folder = self._at
        (entry,) = filesystem.get_file_info([f"{folder}/{trial_id}"])
        if entry.type == FileType.Directory:
            filesystem.delete_dir(entry.path)
