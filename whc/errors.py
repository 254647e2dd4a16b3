"""The errors a user can cause; everything else that escapes is a bug and keeps its traceback."""

from __future__ import annotations


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


class RegistryError(WhcError):
    """The model registry does not hold what was asked for, or refuses a change."""


def problem(where: str, rule: str, got: object, next_step: str) -> str:
    """One line in the shape every message has: `where: rule, got value; next step`."""
    shown = repr(got)
    if len(shown) > 80:
        shown = shown[:77] + "..."
    return f"{where}: {rule}, got {shown}; {next_step}"
