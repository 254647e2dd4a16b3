"""Where workers leave trials when they share no folder with the driver: any file system that pyarrow reaches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pyarrow.fs import FileSelector, FileSystem, FileType

from whc.errors import StudyError, UsageError, problem
from whc.records import replacing

RECORD, RUNG, RUNG_CHECKPOINT = "record.json", "rung.json", "rung.pt"  # a trial that is over; one that waits at a rung
_MARKS = (RUNG, RECORD)  # what tells how far a trial is: written after everything else


@dataclass(frozen=True)
class Storage:
    """A study's trials, each a folder `<uri>/<study>/trials/<trial_id>/`.

    `uri` is what Ray takes for storage: `s3://bucket/folder`, `gs://...`, `file:///...` or a folder that every node
    mounts; what follows a `?` are pyarrow's options for it.
    """

    uri: str
    study: str

    @cached_property
    def _at(self) -> tuple[FileSystem, str]:
        """The file system, and the folder of the trials there.

        Raises:
            UsageError: no such kind of storage, or it cannot be reached.
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
        """Raises UsageError when it cannot be written to."""
        assert self._at  # noqa: S101 (always true: what matters is that it opens)

    def trial_ids(self) -> list[str]:
        """The trials there are, finished or not, in order."""
        filesystem, folder = self._at
        found = filesystem.get_file_info(FileSelector(folder))
        return sorted(one.base_name for one in found if one.type == FileType.Directory and one.base_name.isdigit())

    def fetch(self, trial_id: str, names: Iterable[str], into: Path) -> None:
        """Copy those of the named files that a trial has, in this order."""
        filesystem, folder = self._at
        paths = [f"{folder}/{trial_id}/{name}" for name in names]
        for one in filesystem.get_file_info(paths):
            if one.type == FileType.File:
                with filesystem.open_input_stream(one.path) as stream, replacing(into / one.base_name) as temporary:
                    temporary.write_bytes(stream.read())

    def store(self, trial_id: str, folder: Path) -> None:
        """Copy a trial's files there, last what tells how far it is, and remove the rung that it has left behind.

        Raises:
            StudyError: it cannot be written to.
        """
        filesystem, trials = self._at
        there = f"{trials}/{trial_id}"
        files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
        try:
            filesystem.create_dir(there, recursive=True)
            for path in sorted(files, key=lambda path: (path.name in _MARKS, path.name)):
                with filesystem.open_output_stream(f"{there}/.{path.name}.tmp") as stream:
                    stream.write(path.read_bytes())
                filesystem.move(f"{there}/.{path.name}.tmp", f"{there}/{path.name}")
            if (folder / RECORD).is_file():
                left = filesystem.get_file_info([f"{there}/{name}" for name in (RUNG, RUNG_CHECKPOINT)])
                for one in left:
                    if one.type == FileType.File:
                        filesystem.delete_file(one.path)
        except OSError as error:
            reason = str(error).splitlines()[0]
            raise StudyError(problem(self.uri, "must be writable", reason, "make it so, then use --resume")) from error

    def drop(self, trial_id: str) -> None:
        """Remove what a trial that broke off has left there, if anything."""
        filesystem, folder = self._at
        (found,) = filesystem.get_file_info([f"{folder}/{trial_id}"])
        if found.type == FileType.Directory:
            filesystem.delete_dir(found.path)
