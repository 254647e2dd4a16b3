"""The errors a user can cause; everything else that escapes is a bug and keeps its traceback."""

from __future__ import annotations

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
