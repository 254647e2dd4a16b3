"""The shape of a message, and exit codes."""

from __future__ import annotations

import errno

import pytest

from whc import errors
from whc.errors import UsageError, WhcError, problem, refusal


def test_a_problem_is_one_line_of_bounded_length() -> None:
    assert problem("f.yaml: width", "must be positive", -1, "use 8") == "f.yaml: width: must be positive, got -1; use 8"
    line = problem("f.yaml", "must be short", "first\nsecond " * 100, "cut it")
    assert "\n" not in line
    assert len(line) < 150


def test_a_value_without_end_is_looked_into_no_further_than_it_is_shown() -> None:
    value: object = 1
    for _ in range(100):
        value = {"b": [value] * 9, "a": (value, value)}
    line = problem("c.pt", "must be a number", value, "train it again")
    assert line.startswith("c.pt: must be a number, got {'b': [{'b': [")
    assert len(line) < 150


ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", ERRORS)
def test_exit_codes(kind: type[WhcError]) -> None:
    assert issubclass(kind, WhcError)
    assert kind.exit_code == (2 if issubclass(kind, UsageError) else 1)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "", "a/b.onnx"), "a/b.onnx: must have room on its disk, got No space left on device; "),
        (OSError(errno.ENOSPC, "", "from", None, "to"), "to: must have room on its disk"),
        (OSError(errno.ENOSPC, "while writing"), "a file: must have room on its disk"),
        (OSError(errno.EROFS, "", "runs/x"), "runs/x: must be accessible, got Read-only file system; mind"),
        (PermissionError(errno.EACCES, "", b"x"), "x: must be accessible, got Permission denied; "),
        (FileNotFoundError(errno.ENOENT, "", "a\nb"), r"'a\nb': must be there"),
        (OSError(errno.ENAMETOOLONG, "", "a" * 300), "aaa"),
        (OSError(errno.EIO, ""), "a file: must be on a disk that works, got Input/output error; check"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), "TMPDIR: must be"),
    ],
)
def test_what_the_system_refuses_is_one_line(error: OSError, line: str) -> None:
    told = refusal(error)
    assert told is not None
    assert told.startswith(line)
    assert "\n" not in told
    assert "; " in told


@pytest.mark.parametrize(
    "error",
    [
        OSError("of our own"),
        OSError(errno.EBADF, "", 7),
        OSError(errno.EINVAL, "", "x"),
        FileNotFoundError(errno.ENOENT, "nothing named"),
        ConnectionRefusedError(errno.ECONNREFUSED, ""),
    ],
)
def test_a_bug_is_no_refusal(error: OSError) -> None:
    assert refusal(error) is None
