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


class _Shown(reprlib.Repr):
    """Looks no further into a value than a message shows of it, as aliases can make it endless; order is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxdict, self.maxlist, self.maxtuple = 4, 10, 10, 10
        self.maxstring = self.maxother = 200

    def repr_dict(self, x: Mapping[object, object], level: int) -> str:
        """As the others, which reprlib would sort."""
        if level <= 0:
            return "{...}"
        some = list(x.items())[: self.maxdict]
        parts = [f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}" for key, value in some]
        return "{" + ", ".join(parts + ["..."] * (len(x) > len(some))) + "}"


_SHOWN = _Shown()


def shown(value: object) -> str:
    """A value as messages show it, in at most 80 characters."""
    text = _SHOWN.repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def problem(where: str, rule: str, got: object, next_step: str) -> str:
    """One line in the shape every message has: `where: rule, got value; next step`."""
    return f"{where}: {rule}, got {shown(got)}; {next_step}"


# What the operating system says no with: the rule that is broken, and what to do.
_ROOM = ("must have room on its disk", "free some space there, or choose another path, and run the command again")
_ACCESS = ("must be accessible", "mind its permissions, or choose another path")
_PATH = ("must be a path that can be used", "choose another path")
_DISK = ("must be on a disk that works", "check the disk")
_MANY = ("must be opened beside other files", "raise the limit (`ulimit -n`)")
_REFUSALS = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EACCES: _ACCESS,
    errno.EPERM: _ACCESS,
    errno.EROFS: _ACCESS,
    errno.EBUSY: _ACCESS,
    errno.ETXTBSY: _ACCESS,
    errno.ENOENT: ("must be there", "check the path"),
    errno.EEXIST: _PATH,
    errno.EISDIR: _PATH,
    errno.ELOOP: _PATH,
    errno.EMLINK: _PATH,
    errno.ENAMETOOLONG: _PATH,
    errno.ENODEV: _PATH,
    errno.ENOTDIR: _PATH,
    errno.ENOTEMPTY: _PATH,
    errno.ENXIO: _PATH,
    errno.EXDEV: _PATH,
    errno.EIO: _DISK,
    errno.ESTALE: _DISK,
    errno.EMFILE: _MANY,
    errno.ENFILE: _MANY,
}
_NAMELESS = (_ROOM, _DISK, _MANY)  # a user can mend these without being told which file it was


def refusal(error: OSError) -> str | None:
    """One line for what the operating system refuses a user; None for an error that is our bug.

    A user can mend what has to do with a file that is named, or with the whole machine. The rest is ours: a descriptor
    that is closed, a wrong argument, a connection.
    """
    rule, next_step = _REFUSALS.get(error.errno or 0, ("", ""))
    reason = os.strerror(error.errno or 0)
    # Of two files that are named, the second is the one that is written.
    filename = error.filename if error.filename2 is None else error.filename2
    if rule and isinstance(filename, str | bytes):
        name = os.fsdecode(filename)
        return f"{name if name.isprintable() and name else ascii(name)}: {rule}, got {reason}; {next_step}"
    if (rule, next_step) in _NAMELESS:
        return f"a file: {rule}, got {reason}; {next_step}"
    if str(error.strerror).startswith("No usable temporary directory"):
        return "TMPDIR: must be a folder that can be written and has room, got none; set it to another folder"
    return None
