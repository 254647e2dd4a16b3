"""Whole groups (people, clips) to train, val and test: near the shares asked for, every class in each."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from whc.data.dataset import SPLITS
from whc.errors import DataError, UsageError, problem

Shares = tuple[float, float, float]

_ABSENT = 10.0  # what a class without rows in a split costs; shares cost less than 3 a class
_ATTEMPTS = 8
_LARGE = 0.01  # share of a class from which a group is dealt before the others, which come in random order
_FRAME_NUMBER = re.compile(r"[_.-]?\d+$")


def shares(text: str) -> Shares:
    """Read `70/15/15`: the shares of train, val and test, in hundredths.

    Raises:
        UsageError: not three positive numbers that add up to 100.
    """
    try:
        train, val, test = (float(part) for part in text.split("/"))
    except ValueError:
        train = val = test = 0.0
    if not (min(train, val, test) > 0 and abs(train + val + test - 100) < 0.01):
        rule = "must be the shares of train, val and test, three positive numbers that add up to 100"
        raise UsageError(problem("--split", rule, text, "write 70/15/15"))
    return train / 100, val / 100, test / 100


def grouping(text: str) -> Callable[[str], str | None]:
    """What `--group` means: a function from a file's name, class folder first, to its group (None: it has none).

    `person` is the first folder below the class, or else the file's name up to its first `_`. `video` is the folders
    below the class, or else the file's name less its number. Anything else is a regular expression, searched in the
    name, whose first group in parentheses is the key.

    Raises:
        UsageError: not a regular expression, or one without a group.
    """
    if text in _NAMED:
        return _NAMED[text]
    rule = "must be person, video or a regular expression with a group in parentheses"
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(problem("--group", f"{rule} ({error})", text, "write such as '/([^/_]+)_[^/]*$'")) from error
    if not pattern.groups:
        raise UsageError(problem("--group", rule, text, "write such as '/([^/_]+)_[^/]*$'"))

    def matched(name: str) -> str | None:
        match = pattern.search(name)
        return (match.group(1) or None) if match else None

    return matched


def _person(name: str) -> str | None:
    _, *folders, file = name.split("/")
    if folders:
        return folders[0]
    person, underscore, _ = file.partition("_")
    return person if underscore and person else None


def _video(name: str) -> str | None:
    _, *folders, file = name.split("/")
    if folders:
        return "/".join(folders)
    return _FRAME_NUMBER.sub("", file.rpartition(".")[0]) or None


_NAMED: dict[str, Callable[[str], str | None]] = {"person": _person, "video": _video}


def group_names(names: Sequence[str], group: str) -> list[str]:
    """The group of each file.

    Raises:
        UsageError: `group` cannot be understood.
        DataError: a file belongs to none.
    """
    group_of = grouping(group)
    found = [group_of(name) for name in names]
    for name, key in zip(names, found, strict=True):
        if key is None:
            next_step = "rename the file, put it in a folder below its class, or give another pattern"
            raise DataError(problem(f"--group {group}", "every file must belong to a group", name, next_step))
    return [key for key in found if key]


def assign(counts: NDArray[np.int64], wanted: Shares, seed: int) -> NDArray[np.int64] | None:
    """Deal groups to the splits so that each class is shared out as wanted, as nearly as whole groups allow.

    Large groups are dealt first and the others in random order, each to the split that lacks its classes most; then
    single groups move for as long as that improves the shares. A class that lies in three groups or more by itself
    reaches every split.

    Args:
        counts: (G, C) rows of each class in each group, each class in some group.
        wanted: shares of train, val and test, 1 in all.
        seed: of the order in which groups are dealt.

    Returns:
        (G,) an index of SPLITS for each group; None when some split would lack a class.
    """
    rows = counts / counts.sum(0)
    rng = np.random.default_rng(seed)
    for _ in range(_ATTEMPTS):
        splits = _dealt(rows, np.array(wanted), rng)
        _improve(rows, np.array(wanted), splits)
        if _held(rows, splits).min() > 0:
            return splits
    return None


def _held(rows: NDArray[np.float64], splits: NDArray[np.int64]) -> NDArray[np.float64]:
    """(splits, C) share of each class that each split holds."""
    return np.stack([rows[splits == split].sum(0) for split in range(len(SPLITS))])


def _dealt(rows: NDArray[np.float64], wanted: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    splits = np.zeros(len(rows), np.int64)
    lacking = np.repeat(wanted[:, None], rows.shape[1], 1)
    shuffled = rng.permutation(len(rows))
    size = rows.sum(1)[shuffled]
    for group in shuffled[np.argsort(np.where(size > _LARGE, -size, 0), kind="stable")]:
        split = int(np.argmax(lacking @ rows[group]))
        splits[group] = split
        lacking[split] -= rows[group]
    return splits


def _improve(rows: NDArray[np.float64], wanted: NDArray[np.float64], splits: NDArray[np.int64]) -> None:
    """Move the group that helps most to where it helps most, in place, until none helps."""

    def cost(held: NDArray[np.float64]) -> NDArray[np.float64]:
        # A class that has left a split leaves the rounding errors of a sum behind.
        return np.asarray(((held - wanted[:, None]) ** 2 + _ABSENT * (held < 1e-9)).sum(-1))

    everyone = np.arange(len(rows))
    for _ in rows:
        held = _held(rows, splits)
        now = cost(held)
        grown = cost(held + rows[:, None]) - now
        shrunk = cost(held - rows[:, None]) - now
        change = grown + shrunk[everyone, splits][:, None]
        change[everyone, splits] = 0
        group, split = np.unravel_index(np.argmin(change), change.shape)
        if change[group, split] > -1e-9:
            return
        splits[group] = split
