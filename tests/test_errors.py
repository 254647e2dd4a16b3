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
    assert kind.exit_code == (2 if kind is UsageError else 1)
