"""The errors a user can cause; everything else that escapes is a bug and keeps its traceback."""

from __future__ import annotations

import errno
import os
import reprlib
from collections.abc import Mapping


class WhcError(Exception):
    """Something the user can mend; the command line prints it as one line and exits with `exit_code`."""

    exit_code = 1


class UsageError(WhcError):
    """The command, a configuration file or a name given on the command line is wrong."""

    exit_code = 2


class RuntimeUnavailable(UsageError):
    """A runtime's library or device is missing on this machine, or fails."""


class DataError(WhcError):
    """A data set cannot be used: missing, corrupt, or short of what training needs."""


class ArtifactError(WhcError):
    """A checkpoint or exported file cannot be used, or failed its parity gate."""


class StudyError(WhcError):
    """A study's folder is not in the state that the command needs."""


class ClusterError(WhcError):
    """Ray does not start on this machine."""


class RegistryError(WhcError):
    """The model registry does not hold what was asked for, or refuses a change."""


class RegistryUnavailable(RegistryError):
    """A shared registry does not answer, or not as one: what is to be written there can be written later."""


class _ShortRepr(reprlib.Repr):
    """Formats only the part of a value that a message shows, as aliases can make it endless; keeps keys in order."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxdict, self.maxlist, self.maxtuple = 4, 10, 10, 10
        self.maxstring = self.maxother = 200

    def repr_dict(self, x: Mapping[object, object], level: int) -> str:
        """As for other types, but in the mapping's own order: reprlib would sort the keys."""
        if level <= 0:
            return "{...}"
        items = list(x.items())[: self.maxdict]
        parts = [f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}" for key, value in items]
        return "{" + ", ".join(parts + ["..."] * (len(x) > len(items))) + "}"


_SHORT_REPR = _ShortRepr()


def shown(value: object) -> str:
    """A value as messages show it, in at most 80 characters."""
    text = _SHORT_REPR.repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def problem(where: str, rule: str, got: object, next_step: str) -> str:
    """One line in the shape every message has: `where: rule, got value; next step`."""
    return f"{where}: {rule}, got {shown(got)}; {next_step}"


# For each error number with which the operating system refuses: the broken rule and the next step.
_NO_ROOM = ("must have room on its disk", "free some space there, or choose another path, and run the command again")
_NO_ACCESS = ("must be accessible", "mind its permissions, or choose another path")
_BAD_PATH = ("must be a path that can be used", "choose another path")
_BAD_DISK = ("must be on a disk that works", "check the disk")
_TOO_MANY_FILES = ("must be opened beside other files", "raise the limit (`ulimit -n`)")
_SYSTEM_REFUSALS = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: _NO_ROOM,
    errno.EACCES: _NO_ACCESS,
    errno.EPERM: _NO_ACCESS,
    errno.EROFS: _NO_ACCESS,
    errno.EBUSY: _NO_ACCESS,
    errno.ETXTBSY: _NO_ACCESS,
    errno.ENOENT: ("must be there", "check the path"),
    errno.EEXIST: _BAD_PATH,
    errno.EISDIR: _BAD_PATH,
    errno.ELOOP: _BAD_PATH,
    errno.EMLINK: _BAD_PATH,
    errno.ENAMETOOLONG: _BAD_PATH,
    errno.ENODEV: _BAD_PATH,
    errno.ENOTDIR: _BAD_PATH,
    errno.ENOTEMPTY: _BAD_PATH,
    errno.ENXIO: _BAD_PATH,
    errno.EXDEV: _BAD_PATH,
    errno.EIO: _BAD_DISK,
    errno.ESTALE: _BAD_DISK,
    errno.EMFILE: _TOO_MANY_FILES,
    errno.ENFILE: _TOO_MANY_FILES,
}
_NEEDS_NO_FILE_NAME = (_NO_ROOM, _BAD_DISK, _TOO_MANY_FILES)  # a user can mend these without the file's name


def refusal(error: OSError) -> str | None:
    """One line for an error of the operating system that a user can mend; None for an error that is our bug.

    A user can mend errors of a named file, and errors of the whole machine. Other errors are our bugs: a closed
    descriptor, a wrong argument, a connection.
    """
    rule, next_step = _SYSTEM_REFUSALS.get(error.errno or 0, ("", ""))
    reason = os.strerror(error.errno or 0)
    # Where two files are named, the second is the one that is written.
    filename = error.filename if error.filename2 is None else error.filename2
    if rule and isinstance(filename, str | bytes):
        name = os.fsdecode(filename)
        return f"{name if name.isprintable() and name else ascii(name)}: {rule}, got {reason}; {next_step}"
    if (rule, next_step) in _NEEDS_NO_FILE_NAME:
        return f"a file: {rule}, got {reason}; {next_step}"
    if str(error.strerror).startswith("No usable temporary directory"):
        return "TMPDIR: must be a folder that can be written and has room, got none; set it to another folder"
    return None
