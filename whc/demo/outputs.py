"""Results of a run, and tables of them. A file gets its name only when it is complete."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from whc.data.preprocess import Image
from whc.demo.viewing import Sighting
from whc.errors import UsageError
from whc.records.writing import replacing
from whc.tasks.answers import Answers

PERSON_COLUMNS = ("person", "box_score", "cx", "cy", "w", "h")  # the box in shares of the frame


class Result(NamedTuple):
    """One frame of a run: its number from 0, its time in the stream in seconds, its drawing (RGB).

    `sightings` are what the model says of its parts: one without a detector, else one for each person. `doubt` says why
    the model should not be believed here, empty if nothing does.
    """

    number: int
    seconds: float
    drawing: Image
    sightings: Sequence[Sighting]
    doubt: str = ""


Write = Callable[[Result], bool]
"""Takes the results in order; returns False to stop the run."""


@contextmanager
def csv_file(path: Path, answers: Answers, has_people: bool = False) -> Iterator[Write]:
    """A table with a row for each frame, or with a row for each person in each frame.

    The columns are `frame`, `seconds`, those of PERSON_COLUMNS if there are people, those of the task for frames, and
    `latency_ms`. The task's cells are empty before the first verdict; `latency_ms` is empty if the verdict is of an
    earlier frame. A frame in which nobody is found has one row with empty cells.

    Args:
        path: ends in .csv.
        answers: those of the model.
        has_people: whether a detector finds people.

    Raises:
        UsageError: the file cannot be written.
    """
    person_columns = PERSON_COLUMNS if has_people else ()
    header = ("frame", "seconds", *person_columns, *answers.frame_columns, "latency_ms")
    with table(path) as write_row:
        write_row(header)

        def write(result: Result) -> bool:
            rows = [(*_person_cells(s), *_verdict_cells(s, answers)) for s in result.sightings]
            for cells in rows or [("",) * (len(header) - 2)]:
                write_row((result.number, f"{result.seconds:.3f}", *cells))
            return True

        yield write


def _person_cells(sighting: Sighting) -> tuple[str, ...]:
    if sighting.found is None:
        return ()
    found = sighting.found
    return (str(found.identity), f"{found.score:.3f}", *(f"{share:.6f}" for share in found.box))


def _verdict_cells(sighting: Sighting, answers: Answers) -> tuple[str, ...]:
    verdict = sighting.verdict
    if verdict is None:
        return ("",) * (len(answers.frame_columns) + 1)
    return (*answers.frame_cells(verdict.output), f"{verdict.latency_ms:.3f}" if sighting.is_fresh else "")


@contextmanager
def table(path: Path) -> Iterator[Callable[[Iterable[object]], None]]:
    """A CSV file; yields a function that writes a row.

    Raises:
        UsageError: `path` does not end in .csv, is a folder, or cannot be written.
    """
    require_suffix(path, (".csv",))
    with replacing_output(path) as temporary:
        with as_usage_error(path):
            file = temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        rows = csv.writer(file)

        def write(row: Iterable[object]) -> None:
            with as_usage_error(path):
                rows.writerow(row)

        try:
            yield write
            with as_usage_error(path):
                file.close()
        finally:
            with suppress(OSError):  # after a failed write, closing the file fails too
                file.close()


@contextmanager
def replacing_output(path: Path) -> Iterator[Path]:
    """As `replacing`, but its own errors are UsageErrors; errors of the block stay unchanged."""
    with ExitStack() as stack:
        with as_usage_error(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(None, "a folder")
            temporary = stack.enter_context(replacing(path))
            temporary.touch()
        yield temporary
        with as_usage_error(path):
            stack.close()


def require_suffix(path: Path, suffixes: Sequence[str]) -> None:
    """Refuse a file of another kind.

    Raises:
        UsageError: its name ends in none of the suffixes.
    """
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"{path}: must end in {' or '.join(suffixes)}, got {path.suffix!r}; rename it")


@contextmanager
def as_usage_error(path: Path) -> Iterator[None]:
    """In the block, what the system refuses is told as the fault of this file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{path}: must be a file that can be written, got: {reason}; choose another path") from error
