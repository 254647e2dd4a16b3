"""The shape of a message, and exit codes."""

from __future__ import annotations

import pytest

from whc import errors
from whc.errors import UsageError, WhcError, problem


def test_a_problem_is_one_line_of_bounded_length() -> None:
    assert problem("f.yaml: width", "must be positive", -1, "use 8") == "f.yaml: width: must be positive, got -1; use 8"
    line = problem("f.yaml", "must be short", "first\nsecond " * 100, "cut it")
    assert "\n" not in line
    assert len(line) < 150


@pytest.mark.parametrize("kind", [kind for kind in vars(errors).values() if isinstance(kind, type)])
def test_exit_codes(kind: type[WhcError]) -> None:
    assert issubclass(kind, WhcError)
    assert kind.exit_code == (2 if kind is UsageError else 1)
